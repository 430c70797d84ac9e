/**
 * What clients send while their connections move. The socket here is deaf by then, and at the next node there may be
 * none yet; so the router keeps the segments (rule park), and when it is known where the connection is they are taken
 * up again, as if they came just then: each goes where the rules want it.
 *
 *   park: the route keeps --> the connection is given away: a route leads there --release--> they follow it
 *                         `-> it stays here: giveBack, its socket hears again -------------> they come to it
 *
 * What has no room is lost, as on a wire: the client says it again.
 */

import type { Counters } from '../../base/counters.ts';
import { NumberTable } from '../../base/number-table.ts';
import { TEXT_SEED, textHash } from '../../base/text-hash.ts';
import type { ParkedRing, ParkedSegment } from '../../kernel/router/parked-ring.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import { type FourTuple, tupleKey } from '../flow/four-tuple.ts';

/** Bytes kept for all moving connections of an engine. */
export const PARKED_LIMIT_BYTES = 8 * 1024 * 1024;

/** What writes a segment to the interface so that it comes in again. False: it could not. */
export interface Replay {
  write(frame: Buffer, segmentBytes: number): boolean;
}

interface Parked {
  readonly key: string;
  readonly hash: number;
  /** Another one of the same hash. */
  next: Parked | null;
  /** Puts back what the router knew of the connection before. */
  readonly restore: () => void;
  readonly segments: ParkedSegment[];
}

export class ParkedSegments {
  readonly #engine: number;
  readonly #routes: Pick<Routes, 'park'>;
  readonly #ring: Pick<ParkedRing, 'drain'>;
  readonly #replay: Replay;
  readonly #counters: Pick<Counters, 'add'>;
  /** By the hash of the key: they come and go with each move. */
  readonly #byHash = new NumberTable<Parked>();
  #bytes = 0;

  constructor(
    engine: number,
    routes: Pick<Routes, 'park'>,
    ring: Pick<ParkedRing, 'drain'>,
    replay: Replay,
    counters: Pick<Counters, 'add'>,
  ) {
    this.#engine = engine;
    this.#routes = routes;
    this.#ring = ring;
    this.#replay = replay;
    this.#counters = counters;
  }

  /**
   * From now on what the client sends is kept. False: there is no room, and its segments go on coming to the socket.
   */
  park(ends: FourTuple): boolean {
    const restore = this.#routes.park(ends.client, ends.public, this.#engine);
    if (restore === null) return false;
    const key = tupleKey(ends);
    const hash = textHash(key, TEXT_SEED);
    const next = this.#byHash.get(hash) ?? null;
    this.#byHash.set(hash, { key, hash, next, restore, segments: [] });
    return true;
  }

  #find(key: string): Parked | null {
    let parked = this.#byHash.get(textHash(key, TEXT_SEED)) ?? null;
    while (parked !== null && parked.key !== key) parked = parked.next;
    return parked;
  }

  #forget(parked: Parked): void {
    const { hash, next } = parked;
    const first = this.#byHash.get(hash) ?? null;
    if (first !== parked) {
      for (let before = first; before !== null; before = before.next)
        if (before.next === parked) before.next = next;
    } else if (next === null) this.#byHash.delete(hash);
    else this.#byHash.set(hash, next);
  }

  /** The connection stays here, and its socket hears. */
  giveBack(ends: FourTuple): void {
    const parked = this.#find(tupleKey(ends));
    if (parked === null) return;
    parked.restore();
    this.#release(parked);
  }

  /** A route says where the connection is now. */
  release(ends: FourTuple): void {
    const parked = this.#find(tupleKey(ends));
    if (parked !== null) this.#release(parked);
  }

  #release(parked: Parked): void {
    this.hear();
    this.#forget(parked);
    for (const { frame, segmentBytes } of parked.segments) {
      this.#bytes -= frame.length;
      this.#write(frame, segmentBytes);
    }
  }

  /** Takes over what the router has kept. */
  hear(): void {
    this.#ring.drain((key, { frame, segmentBytes }) => {
      const parked = this.#find(key);
      // The router had looked at the route just before it was changed.
      if (parked === null) return this.#write(frame, segmentBytes);
      if (this.#bytes + frame.length > PARKED_LIMIT_BYTES) return this.#counters.add('segments_lost');
      this.#bytes += frame.length;
      parked.segments.push({ frame: Buffer.from(frame), segmentBytes });
    });
  }

  #write(frame: Buffer, segmentBytes: number): void {
    this.#counters.add(this.#replay.write(frame, segmentBytes) ? 'segments_replayed' : 'segments_lost');
  }
}
