/**
 * Where a response is that a target owes: in the client's sequence space, and in the response. The two go together,
 * unless the connection is TLS: then the response's bytes lie in records, and what is counted in the client's space are
 * those of the records.
 */
import { distance } from '../../kernel/router/ranges.ts';
import type { Continuation, Identity } from '../../protocol/http/continuation.ts';
import { placeAt, recordCount, wireAt, wireBytes } from '../../protocol/tls/record-layout.ts';
import type { WriteHalf } from '../../protocol/tls/write-half.ts';
import type { OwedResponse } from './handoff.ts';
import { recordsBefore } from './lent-records.ts';

/** Bytes on the wire before the response's byte `offset`, at which a record begins. */
function before(identity: Identity, offset: number, half: WriteHalf | null): number {
  return half === null ? offset : wireAt(identity, offset, half.suite);
}

/** What of a response is on the wire before a target goes on with it. */
export function wireOffset(continuation: Continuation | null, half: WriteHalf | null): number {
  if (continuation === null) return 0;
  return before(continuation, continuation.offset, half) + (half?.cut ?? 0);
}

/** The response's bytes on the wire before `acknowledged`; fewer than `offset` when not even those before are. */
export function bytesBefore(acknowledged: number, { start, offset }: OwedResponse): number {
  return offset + distance(start, acknowledged);
}

/** Whether the client has the response's head, and it is known what the response is: then another node can go on. */
export function hasHead(acknowledged: number, owed: OwedResponse): boolean {
  const { identity, records } = owed;
  if (identity === null) return false;
  return bytesBefore(acknowledged, owed) >= before(identity, identity.headBytes, records?.half ?? null);
}

/** Whether it has all of it, as far as is known. */
export function hasAll(acknowledged: number, owed: OwedResponse): boolean {
  const { end, identity, records } = owed;
  if (end !== null && distance(end, acknowledged) >= 0) return true;
  if (identity === null) return false;
  const whole = records === null ? identity.lengthBytes : wireBytes(identity, records.half.suite);
  return bytesBefore(acknowledged, owed) >= whole;
}

/** The write half comes back behind the whole response. */
export function takeBackWhole({ identity, records }: OwedResponse): void {
  if (records === null) return;
  const { half, first, next } = records;
  half.takeBack(next ?? first + recordCount(identity!));
}

/**
 * Where another node goes on, behind what the client has of a response that is identified and whose head it has. With
 * TLS that is at the beginning of a record, of which the client may have a part: the write half comes back there.
 */
export function takeBackAt(acknowledged: number, owed: OwedResponse): Continuation {
  const { identity, records } = owed;
  const { headBytes, lengthBytes, validator } = identity!;
  const wire = bytesBefore(acknowledged, owed);
  if (records === null) return { headBytes, lengthBytes, validator, offset: wire };
  const { half, first } = records;
  const place = placeAt(identity!, wire, half.suite);
  half.takeBack(first + place.records, place.cut, first + recordCount(identity!));
  return { headBytes, lengthBytes, validator, offset: place.offset };
}

/** The client has got `bytes` more from who was cut off, before another node has gone on. */
export function goFurther(continuation: Continuation, half: WriteHalf | null, bytes: number): Continuation {
  const { headBytes, lengthBytes, validator, offset } = continuation;
  if (half === null) return { headBytes, lengthBytes, validator, offset: offset + bytes };
  const place = placeAt(continuation, wireOffset(continuation, half) + bytes, half.suite);
  const first = half.number - recordsBefore(continuation);
  half.takeBack(first + place.records, place.cut, first + recordCount(continuation));
  return { headBytes, lengthBytes, validator, offset: place.offset };
}

/** Bytes of the response that the client has, for a report; of unknown records the largest that may be. */
export function responseBytes(acknowledged: number, owed: OwedResponse): number {
  const wire = Math.max(owed.offset, bytesBefore(acknowledged, owed));
  const { records, identity } = owed;
  if (records === null || identity === null) return wire;
  const { suite } = records.half;
  return placeAt(identity, Math.min(wire, wireBytes(identity, suite)), suite).offset;
}
