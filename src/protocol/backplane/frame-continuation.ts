/** The blocks that say what a response is, and how much of it is out. `at` is the first byte of the block. */
import type { Continuation, Identity } from '../http/continuation.ts';
import { getU64, must, putU32, putU64 } from './wire.ts';

/*
 * The identity block of SETUP_OK and DATA_DONE
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 0      | 4     | headBytes   | of the response's head, not 0 |
 * | 4      | 8     | lengthBytes | of the whole response, at least headBytes, at most 2^53 - 1 |
 * | 12     | 8     | validator   | of its body |
 */
export const IDENTITY_BYTES = 20;

export function writeIdentity(identity: Identity, into: Buffer, start: number): number {
  checkIdentity(identity);
  const at = putU64(into, putU32(into, start, identity.headBytes), identity.lengthBytes);
  return into.writeBigUInt64BE(identity.validator, at);
}

export function readIdentity(bytes: Buffer, at: number): Identity {
  const identity = {
    headBytes: bytes.readUInt32BE(at),
    lengthBytes: getU64(bytes, at + 4),
    validator: bytes.readBigUInt64BE(at + 12),
  };
  checkIdentity(identity);
  return identity;
}

function checkIdentity(identity: Identity): void {
  must(identity.headBytes > 0, 'a response without head');
  must(identity.headBytes <= identity.lengthBytes, 'more head than response');
  must(identity.validator >= 0n && identity.validator < 2n ** 64n, 'validator');
}

/*
 * The continuation block of SETUP
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 0      | 20    | identity | of the response as its first node sent it |
 * | 20     | 8     | offset   | bytes of it that are out: headBytes to lengthBytes |
 */
export const CONTINUATION_BYTES = IDENTITY_BYTES + 8;

export function writeContinuation(continuation: Continuation, into: Buffer, start: number): number {
  checkOffset(continuation);
  return putU64(into, writeIdentity(continuation, into, start), continuation.offset);
}

export function readContinuation(bytes: Buffer, at: number): Continuation {
  const continuation = { ...readIdentity(bytes, at), offset: getU64(bytes, at + IDENTITY_BYTES) };
  checkOffset(continuation);
  return continuation;
}

function checkOffset({ headBytes, lengthBytes, offset }: Continuation): void {
  must(headBytes <= offset && offset <= lengthBytes, 'offset of a continuation');
}
