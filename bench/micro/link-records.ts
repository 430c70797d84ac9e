/**
 * What encryption costs on a link between two nodes: sealing and opening a record as it is, beside one that is in the
 * clear and authenticated all the same (its content would be associated data: GMAC). Run as
 * `node dist/bench/micro/link-records.js`; processor time of this thread, the median of alternated rounds.
 */
import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { Aead, NONCE_BYTES, TAG_BYTES } from '../../src/kernel/linux/aead.ts';
import { addressOf, allocate } from '../../src/kernel/linux/memory.ts';
import { threadCpuMs } from '../../src/kernel/linux/thread-time.ts';
import {
  openRecord,
  RECORD_HEADER_BYTES,
  RECORD_KEY_BYTES,
  RECORD_OVERHEAD_BYTES,
  RecordKeys,
  sealRecord,
} from '../../src/protocol/backplane/record.ts';
import { median } from '../lib/rounds.ts';

const SIZES = [64, 1024, 16_384, 65_536];
const ROUNDS = 9;
const ROUND_MS = 100;
/** Records between two looks at the clock. */
const AT_ONCE = 20;
const US_PER_MS = 1000;

function encrypted(plaintext: Buffer): () => void {
  const key = randomBytes(RECORD_KEY_BYTES);
  const [sender, receiver] = [new RecordKeys(key), new RecordKeys(key)];
  const wire = allocate(plaintext.length + RECORD_OVERHEAD_BYTES).bytes;
  return () => {
    const end = sealRecord(sender, plaintext, wire, 0);
    assert.equal(openRecord(receiver, wire, 0, end).length, plaintext.length);
  };
}

function inTheClear(plaintext: Buffer): () => void {
  const key = randomBytes(RECORD_KEY_BYTES);
  const nonce = Buffer.alloc(NONCE_BYTES);
  const [sender, receiver] = [new Aead('aes-128-gcm', 'seal', key), new Aead('aes-128-gcm', 'open', key)];
  const wire = allocate(plaintext.length + RECORD_OVERHEAD_BYTES);
  const nothing = Buffer.alloc(0);
  const end = RECORD_HEADER_BYTES + plaintext.length;
  let count = 0;
  return () => {
    nonce.writeUInt32BE(++count, 8);
    wire.bytes.writeUInt32BE(end + TAG_BYTES, 0);
    wire.bytes.set(plaintext, RECORD_HEADER_BYTES);
    sender.seal(nonce, nothing, wire.bytes, end, end);
    assert.ok(receiver.openTo(wire.address, addressOf(nonce), wire.address + end, 0, end));
  };
}

function microseconds(work: () => void): number {
  const begun = threadCpuMs();
  let count = 0;
  let passedMs = 0;
  do {
    for (let i = 0; i < AT_ONCE; i++) work();
    count += AT_ONCE;
    passedMs = threadCpuMs() - begun;
  } while (passedMs < ROUND_MS);
  return (passedMs * US_PER_MS) / count;
}

for (const size of SIZES) {
  const plaintext = randomBytes(size);
  const forms = [encrypted(plaintext), inTheClear(plaintext)];
  for (const form of forms) microseconds(form);
  const rounds = Array.from({ length: ROUNDS }, () => forms.map(microseconds));
  const [secret, clear] = forms.map((_, i) => median(rounds.map((round) => round[i])));
  console.log(
    `${size} bytes: encrypted ${secret.toFixed(2)} us, in the clear ${clear.toFixed(2)} us: ${(secret - clear).toFixed(2)} us less`,
  );
}
