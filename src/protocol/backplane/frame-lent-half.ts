/** The write half of a TLS connection, as a target is given it: a block of SETUP. `at` is the first byte of the block. */
import { AEAD_KEY_BYTES, NONCE_BYTES } from '../../kernel/linux/aead.ts';
import { MAX_SEALED_BYTES } from '../tls/records.ts';
import { type Suite, suiteOf } from '../tls/suites.ts';
import type { LentHalf } from '../tls/traffic.ts';
import { FrameError } from './errors.ts';
import { getU64, must, putBytes, putU16, putU64, requireAtLeast } from './wire.ts';

/*
 * The lent half block of SETUP
 *
 * | offset | bytes | field  | value |
 * |--------|-------|--------|-------|
 * | 0      | 2     | suite  | as in TLS: 1301, 1302 or 1303 |
 * | 2      | 8     | number | of the first record, at most 2^53 - 1 |
 * | 10     | 2     | cut    | bytes of that record that the client has already, at most 16405 |
 * | 12     | 12    | iv     | |
 * | 24     | K     | key    | K: 16 with 1301, else 32 |
 */
const FIXED_BYTES = 12 + NONCE_BYTES;

const keyBytesOf = ({ aead }: Suite) => AEAD_KEY_BYTES[aead];

export function lentHalfSize({ suite }: LentHalf): number {
  return FIXED_BYTES + keyBytesOf(suite);
}

export function writeLentHalf(half: LentHalf, into: Buffer, start: number): number {
  checkLentHalf(half);
  let at = putU16(into, start, half.suite.id);
  at = putU64(into, at, half.number);
  at = putU16(into, at, half.cut);
  at = putBytes(into, at, half.iv, NONCE_BYTES);
  return putBytes(into, at, half.key, keyBytesOf(half.suite));
}

/** Key and iv are those in `bytes`: whoever uses them copies and wipes them. */
export function readLentHalf(bytes: Buffer, at: number, end: number): LentHalf {
  requireAtLeast(at, end, FIXED_BYTES);
  const suite = suiteOf(bytes.readUInt16BE(at));
  if (suite === undefined) throw new FrameError('OUT_OF_RANGE', 'cipher suite');
  const keyAt = at + FIXED_BYTES;
  requireAtLeast(keyAt, end, keyBytesOf(suite));
  const half = {
    suite,
    number: getU64(bytes, at + 2),
    cut: bytes.readUInt16BE(at + 10),
    iv: bytes.subarray(at + 12, keyAt),
    key: bytes.subarray(keyAt, keyAt + keyBytesOf(suite)),
  };
  checkLentHalf(half);
  return half;
}

function checkLentHalf({ cut }: LentHalf): void {
  must(cut < MAX_SEALED_BYTES, 'more of a record than there is');
}
