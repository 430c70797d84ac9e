import assert from 'node:assert/strict';
import { createDecipheriv, hkdfSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { SessionError } from '../../../src/protocol/backplane/errors.ts';
import {
  MAX_SESSION_RECORDS,
  openRecord,
  REKEY_RECORDS,
  RecordKeys,
  sealRecord,
} from '../../../src/protocol/backplane/record.ts';

const KEY = Buffer.alloc(16, 9);
const BATCH = Buffer.from('a batch');

function seal(keys: RecordKeys): Buffer {
  const record = Buffer.alloc(BATCH.length + 20);
  assert.equal(sealRecord(keys, BATCH, record, 0), record.length);
  return record;
}

const isExhausted = (error: unknown) => error instanceof SessionError && error.code === 'EXHAUSTED';

describe('record keys', () => {
  it('are used as documented', () => {
    const count = 2 ** 32 + 5;
    const record = seal(new RecordKeys(KEY, count));
    const decipher = createDecipheriv('aes-128-gcm', KEY, Buffer.from('000000000000000100000005', 'hex'));
    decipher.setAAD(Buffer.from([0, 0, 0, record.length]));
    decipher.setAuthTag(record.subarray(-16));
    assert.deepEqual(decipher.update(record.subarray(4, -16)), BATCH);
    decipher.final();
  });

  it('change at the same record on both ends, and records go on', () => {
    const sealing = new RecordKeys(KEY, REKEY_RECORDS - 2);
    const opening = new RecordKeys(KEY, REKEY_RECORDS - 2);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(sealing.key, KEY);
      const record = seal(sealing);
      assert.deepEqual(openRecord(opening, record, 0, record.length), BATCH);
    }
    const info = 'baton backplane 1 next key';
    assert.deepEqual(sealing.key, Buffer.from(hkdfSync('sha256', KEY, Buffer.alloc(0), info, 16)));
    for (let i = 0; i < 3; i++) {
      const record = seal(sealing);
      assert.deepEqual(openRecord(opening, record, 0, record.length), BATCH);
    }
    assert.equal(opening.count, REKEY_RECORDS + 3);
    const stale = seal(new RecordKeys(KEY, REKEY_RECORDS + 3));
    assert.throws(() => openRecord(opening, stale, 0, stale.length), SessionError, 'sealed with the old key');
  });

  it('are spent before a nonce repeats', () => {
    const sealing = new RecordKeys(KEY, MAX_SESSION_RECORDS - 1);
    const opening = new RecordKeys(KEY, MAX_SESSION_RECORDS - 1);
    const last = seal(sealing);
    openRecord(opening, last, 0, last.length);
    assert.throws(() => seal(sealing), isExhausted);
    assert.throws(() => openRecord(opening, last, 0, last.length), isExhausted);
  });

  it('never use a nonce twice around 2^32', () => {
    const keys = new RecordKeys(KEY, 2 ** 32 - 2);
    const nonces = new Set<string>();
    for (let i = 0; i < 4; i++) {
      nonces.add(keys.nonce.toString('hex'));
      seal(keys);
    }
    assert.deepEqual(
      [...nonces],
      [
        '0000000000000000fffffffe',
        '0000000000000000ffffffff',
        '000000000000000100000000',
        '000000000000000100000001',
      ],
    );
  });
});
