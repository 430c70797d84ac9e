/** The write half of a TLS connection, as a target is given it: a block of SETUP. `at` is the first byte of the block. */
import { AEAD_KEY_BYTES, NONCE_BYTES } from '../../kernel/linux/aead.ts';
import { MAX_CONTENT_BYTES } from '../tls/records.ts';
import { type Suite, suiteOf } from '../tls/suites.ts';
import type { LentHalf } from '../tls/traffic.ts';
import { FrameError } from './errors.ts';
import { getU64, must, putBytes, putU16, putU64, requireAtLeast } from './wire.ts';

/*
 * The lent half block of SETUP
 *
 * | offset | bytes | field  | value |
 * |--------|-------|--------|-------|
 * | 0      | 2     | suite  | as in TLS: 1301 to 1303, of TLS 1.2 c02b, c02c, c02f, c030, cca8, cca9 |
 * | 2      | 8     | number | of the first record, at most 2^53 - 1 |
 * | 10     | 2     | cut    | bytes of that record that the client has already, less than the longest of the suite has: 16406 with TLS 1.3, 16405 with ChaCha20 of TLS 1.2, 16413 with its AES |
 * | 12     | 12    | iv     | |
 * | 24     | K     | key    | K: 16 with AES-128 (1301, c02b, c02f), else 32 |
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

function checkLentHalf({ cut, suite }: LentHalf): void {
  must(cut < MAX_CONTENT_BYTES + suite.overheadBytes, 'more of a record than there is');
}
