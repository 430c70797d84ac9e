/** A response while a target sends it, as the anchor knows it: where it is in the client's space, and what it is. */
import assert from 'node:assert';
import { distance } from '../../kernel/router/ranges.ts';
import type { Identity } from '../../protocol/http/continuation.ts';
import type { WriteHalf } from '../../protocol/tls/write-half.ts';
import type { Request } from '../../serve/request.ts';
import type { AnnouncedResponse, OwedResponse } from './handoff.ts';
import { LentRecords } from './lent-records.ts';
import { wireOffset } from './owed-records.ts';

/** A start further behind the last acknowledgement than this is moved up, so that distances stay below 2^31. */
const REBASE_BEHIND_BYTES = 2 ** 28;

export class TargetResponse implements OwedResponse {
  readonly node: number;
  readonly mechanism: OwedResponse['mechanism'];
  start: number;
  offset: number;
  end: number | null = null;
  identity: Identity | null;
  readonly records: LentRecords | null;
  sentAtMs: number;
  status = 0;
  readonly #request: Request;
  /** Where the target starts. */
  readonly #begin: number;

  /** `half`: what the target is to seal with; null: the connection is not TLS. `start`: where the target starts. */
  constructor(
    mechanism: OwedResponse['mechanism'],
    given: { readonly node: number; readonly request: Request; readonly half: WriteHalf | null },
    start: number,
    sentAtMs: number,
  ) {
    const { node, request, half } = given;
    this.node = node;
    this.mechanism = mechanism;
    this.start = start;
    this.#begin = start;
    this.offset = wireOffset(request.continuation, half);
    this.identity = request.continuation;
    this.records = half === null ? null : new LentRecords(half, request.continuation);
    this.sentAtMs = sentAtMs;
    this.#request = request;
  }

  /** Where `bytes` of the response, in so many records, end in the client's space. */
  endOf(bytes: number, records: number): number {
    return (this.#begin + (this.records?.wireBytes(bytes, records) ?? bytes)) >>> 0;
  }

  /** A response whose end is not known may be of any length. */
  moveUp(acknowledged: number): void {
    const beyond = distance(this.start, acknowledged);
    if (this.end !== null || beyond < REBASE_BEHIND_BYTES) return;
    this.start = (this.start + beyond) >>> 0;
    this.offset += beyond;
  }

  /** The response, once the target has said where it ends. */
  announced(): AnnouncedResponse {
    const { node, start, offset, end, identity, records, sentAtMs, mechanism, status } = this;
    assert(end !== null, 'its target has said where it ends');
    // Field by field: a spread has V8 make a hidden class for each of them, which is old from the beginning.
    return {
      node,
      start,
      offset,
      end,
      identity,
      records,
      sentAtMs,
      mechanism,
      status,
      request: this.#request,
    };
  }
}
