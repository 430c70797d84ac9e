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
import type { ParkedRing, ParkedSegment } from '../../kernel/router/parked-ring.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import { type FourTuple, tupleKey } from '../flow/four-tuple.ts';

/** Of all connections of an engine that move. */
export const PARKED_LIMIT_BYTES = 8 * 1024 * 1024;

/** What writes a segment to the interface so that it comes in again. False: it could not. */
export interface Replay {
  write(frame: Buffer, segmentBytes: number): boolean;
}

interface Parked {
  readonly ends: FourTuple;
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
  readonly #byKey = new Map<string, Parked>();
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

  /** From now on what comes of the connection is kept. False: no room, it goes on coming. */
  park(ends: FourTuple): boolean {
    const restore = this.#routes.park(ends.client, ends.public, this.#engine);
    if (restore === null) return false;
    this.#byKey.set(tupleKey(ends), { ends, restore, segments: [] });
    return true;
  }

  /** The connection stays here, and its socket hears. */
  giveBack(ends: FourTuple): void {
    this.#byKey.get(tupleKey(ends))?.restore();
    this.release(ends);
  }

  /** A route says where the connection is now. */
  release(ends: FourTuple): void {
    const key = tupleKey(ends);
    const parked = this.#byKey.get(key);
    if (parked === undefined) return;
    this.hear();
    this.#byKey.delete(key);
    for (const { frame, segmentBytes } of parked.segments) {
      this.#bytes -= frame.length;
      this.#write(frame, segmentBytes);
    }
  }

  /** Takes over what the router has kept. */
  hear(): void {
    this.#ring.drain((key, { frame, segmentBytes }) => {
      const parked = this.#byKey.get(key);
      // The router had looked at the route just before it was changed.
      if (parked === undefined) return this.#write(frame, segmentBytes);
      if (this.#bytes + frame.length > PARKED_LIMIT_BYTES) return this.#counters.add('segments_lost');
      this.#bytes += frame.length;
      parked.segments.push({ frame: Buffer.from(frame), segmentBytes });
    });
  }

  #write(frame: Buffer, segmentBytes: number): void {
    this.#counters.add(this.#replay.write(frame, segmentBytes) ? 'segments_replayed' : 'segments_lost');
  }
}
