/**
 * What bytes cost on this machine beside calls: rows of mechanism auto differ in how often they pass a response on, and
 * in how much they do besides (prices.ts). Machines differ in one against the other: with other mitigations, memory, or
 * cipher instructions. It takes 2 ms, when a node starts.
 */
import { randomBytes } from 'node:crypto';
import { check } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, socketPair } from '../../kernel/linux/socket.ts';
import { threadCpuMs } from '../../kernel/linux/thread-time.ts';
import {
  openRecord,
  RECORD_KEY_BYTES,
  RECORD_OVERHEAD_BYTES,
  RecordKeys,
  sealRecord,
} from '../../protocol/backplane/record.ts';

const KIB = 1024;
const PIECE_KIB = 32;
const PIECE_BYTES = PIECE_KIB * KIB;
/** Calls between two looks at the clock, which costs as much as one of them. */
const CALLS = 10;
/** What disturbs makes it slower only: the fastest counts. */
const ROUNDS = 8;

/** Processor time of this thread, in milliseconds: what else runs is not in it. */
function leastMs(work: () => void): number {
  let leastMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ROUNDS; i++) {
    const begunMs = threadCpuMs();
    work();
    leastMs = Math.min(leastMs, threadCpuMs() - begunMs);
  }
  return leastMs;
}

/** What a KiB costs that is sealed, passed on and opened, in what it costs to pass a byte on by itself. */
export function callsPerKib(): number {
  const [to, from] = socketPair();
  const plaintext = allocate(PIECE_BYTES);
  const copy = allocate(PIECE_BYTES);
  const record = allocate(PIECE_BYTES + RECORD_OVERHEAD_BYTES).bytes;
  const key = randomBytes(RECORD_KEY_BYTES);
  const [sender, receiver] = [new RecordKeys(key), new RecordKeys(key)];
  // As much at a time as the kernel has room for (net.core.wmem_default): nobody else would make some.
  const pass = (bytes: number): void => {
    for (let left = bytes; left > 0; ) {
      const sent = check('send', libc.send(to, plaintext.address, left, MSG_DONTWAIT | MSG_NOSIGNAL));
      left -= sent;
      for (let toCome = sent; toCome > 0; )
        toCome -= check('recv', libc.recv(from, copy.address, toCome, MSG_DONTWAIT));
    }
  };
  try {
    const callMs = leastMs(() => {
      for (let i = 0; i < CALLS; i++) pass(1);
    });
    const pieceMs = leastMs(() => {
      const end = sealRecord(sender, plaintext.bytes, record, 0);
      pass(PIECE_BYTES);
      openRecord(receiver, record, 0, end);
    });
    const oneMs = callMs / CALLS;
    return (pieceMs - oneMs) / PIECE_KIB / oneMs;
  } finally {
    for (const keys of [sender, receiver]) keys.forget();
    for (const fd of [to, from]) libc.close(fd);
  }
}
