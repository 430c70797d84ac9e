/**
 * Where a response over TLS goes on at the node that its connection moves to. Its records lie as arithmetic says, so what
 * the client's socket has of them says which record is next, and how much of it the client has. The node that goes on
 * seals that record once more, from the same bytes, by the same number. Pure.
 *
 *   records   | head | 1 | 2 | 3 | 4 | 5 |
 *   sealed    |---------------------->          by this node; the rest of it is forgotten
 *   sent      |----------------->               travels in the state
 *   goes on              |------------------>   from the last record that is not whole, less its cut
 */
import type { Continuation, Identity } from '../../protocol/http/continuation.ts';
import {
  contentBytesAt,
  type Layout,
  placeAt,
  recordCount,
  recordCountBefore,
  type SentRecords,
  wireAt,
} from '../../protocol/tls/record-layout.ts';
import { MAX_KEY_RECORDS } from '../../protocol/tls/records.ts';
import type { TlsSession } from '../../protocol/tls/session.ts';
import type { Suite } from '../../protocol/tls/suites.ts';

type Overhead = Pick<Suite, 'overheadBytes'>;

/** Byte of the response at which `sent` begins: it may have come here in its middle. */
const startOf = (identity: Identity, sent: SentRecords): number => identity.lengthBytes - sent.lengthBytes;

/** Bytes of the response's records, from its first, that are sent. */
const wireOf = (identity: Identity, sent: SentRecords, suite: Overhead): number =>
  wireAt(identity, startOf(identity, sent), suite) + sent.wire;

/** Bytes of the body's records that are sent, those from before included; below 0: the head is not out. */
export function bodyWire(identity: Identity, sent: SentRecords, suite: Overhead): number {
  return wireOf(identity, sent, suite) - wireAt(identity, identity.headBytes, suite);
}

/** Heads differ between nodes: who goes on makes none. */
export function isHeadOut(identity: Identity, sent: SentRecords, suite: Overhead): boolean {
  return bodyWire(identity, sent, suite) >= 0;
}

/** A record at which a response goes on. */
export interface MovedPlace extends Pick<Continuation, 'offset'> {
  readonly number: number;
  /** Bytes of it that the client has, or gets from what travels. */
  readonly cut: number;
}

/** `unsent`: the last bytes of what is sent, which the kernel has not put on the wire, and which do not travel. */
export function movedPlace(
  identity: Identity,
  sent: SentRecords,
  suite: Overhead,
  unsent: number,
): MovedPlace {
  const first = sent.number - recordCountBefore(identity, startOf(identity, sent));
  const { records, offset, cut } = placeAt(identity, wireOf(identity, sent, suite) - unsent, suite);
  return { number: first + records, offset, cut };
}

/** Whether what is left of a response can be sealed by a session that came with it. */
export function canSeal(
  left: Layout | null,
  { serverRecord, suite }: Pick<TlsSession, 'serverRecord' | 'suite'>,
  cut: number,
): boolean {
  if (left === null || serverRecord + recordCount(left) > MAX_KEY_RECORDS) return false;
  return cut === 0 || cut < contentBytesAt(left, 0) + suite.overheadBytes;
}
