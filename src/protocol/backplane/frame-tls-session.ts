/** The TLS session of a connection that moves: a block of MIGRATE. `at` is the first byte of the block. */
import { MAX_KEY_RECORDS, MAX_RECORD_BYTES } from '../tls/records.ts';
import type { TlsSession } from '../tls/session.ts';
import { suiteOf } from '../tls/suites.ts';
import { FrameError } from './errors.ts';
import { getFlags, getU64, must, putBytes, putU8, putU16, putU64, requireAtLeast } from './wire.ts';

/*
 * The TLS session block of MIGRATE
 *
 * | offset | bytes | field         | value |
 * |--------|-------|---------------|-------|
 * | 0      | 2     | suite         | as in TLS: those of the lent half |
 * | 2      | 1     | flags         | bit 0 resumed by a ticket |
 * | 3      | 8     | client number | of the next record that the client sends, at most 2^53 - 1 |
 * | 11     | 8     | server number | of the next record that it gets, at most 2^24 |
 * | 19     | S     | client secret | S: 48 with 1302, else 32; with TLS 1.2 key and iv: 28 with AES-128, else 44 |
 * | 19+S   | S     | server secret | |
 * |        | 2     | length R      | less than 16645 |
 * |        | R     | behind        | the beginning of the client's next record |
 * |        | 2     | length H      | at most 15360 |
 * |        | H     | held          | what was opened, and is not answered |
 */
const FIXED_BYTES = 19;
const LENGTH_BYTES = 2;
const RESUMED = 1;
/** With more the connection does not move: the block has the room of a response's head. */
export const MAX_HELD_BYTES = 15 * 1024;

export function tlsSessionSize({ suite, behind, held }: TlsSession): number {
  return FIXED_BYTES + 2 * suite.secretBytes + LENGTH_BYTES + behind.length + LENGTH_BYTES + held.length;
}

export function writeTlsSession(session: TlsSession, into: Buffer, start: number): number {
  checkTlsSession(session);
  const { suite, behind, held } = session;
  let at = putU16(into, start, suite.id);
  at = putU8(into, at, session.resumed ? RESUMED : 0);
  at = putU64(into, at, session.clientRecord);
  at = putU64(into, at, session.serverRecord);
  at = putBytes(into, at, session.clientSecret, suite.secretBytes);
  at = putBytes(into, at, session.serverSecret, suite.secretBytes);
  at = putBytes(into, putU16(into, at, behind.length), behind, behind.length);
  return putBytes(into, putU16(into, at, held.length), held, held.length);
}

/** Its secrets are those in `bytes`: whoever uses them copies and wipes them. */
export function readTlsSession(bytes: Buffer, at: number, end: number): TlsSession {
  requireAtLeast(at, end, FIXED_BYTES);
  const suite = suiteOf(bytes.readUInt16BE(at));
  if (suite === undefined) throw new FrameError('OUT_OF_RANGE', 'cipher suite');
  const serverAt = at + FIXED_BYTES + suite.secretBytes;
  const behindAt = serverAt + suite.secretBytes + LENGTH_BYTES;
  requireAtLeast(behindAt, end, 0);
  const heldAt = behindAt + bytes.readUInt16BE(behindAt - LENGTH_BYTES) + LENGTH_BYTES;
  requireAtLeast(heldAt, end, 0);
  const heldEnd = heldAt + bytes.readUInt16BE(heldAt - LENGTH_BYTES);
  requireAtLeast(heldEnd, end, 0);
  const session = {
    suite,
    resumed: getFlags(bytes, at + 2, RESUMED) !== 0,
    clientSecret: bytes.subarray(at + FIXED_BYTES, serverAt),
    serverSecret: bytes.subarray(serverAt, serverAt + suite.secretBytes),
    clientRecord: getU64(bytes, at + 3),
    serverRecord: getU64(bytes, at + 11),
    behind: bytes.subarray(behindAt, heldAt - LENGTH_BYTES),
    held: bytes.subarray(heldAt, heldEnd),
  };
  checkTlsSession(session);
  return session;
}

function checkTlsSession({ serverRecord, behind, held }: TlsSession): void {
  must(serverRecord <= MAX_KEY_RECORDS, 'more records than a key seals');
  must(behind.length < MAX_RECORD_BYTES, 'more than the beginning of a record');
  must(held.length <= MAX_HELD_BYTES, 'more held than moves');
}
