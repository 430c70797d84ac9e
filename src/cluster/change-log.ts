/**
 * What a node tells its peers of a set that changes, as a log of changes that each peer has read up to somewhere. Pure.
 *
 *     log  [ +a +b +c | -b | +d ]     generation g      a peer's place: { generation, at }
 *
 * When the log has grown to twice what it says, it starts over as a new generation, and peers read it from the front.
 */

/** Entries of one frame; small enough not to delay what is urgent. */
export const PIECE_BYTES = 16 * 1024;
const MAX_PIECE_ENTRIES = 1024;
const MIN_COMPACT_ENTRIES = 256;

/** Where a peer is in a log. */
export interface Place {
  generation: number;
  at: number;
}

export const newPlace = (): Place => ({ generation: -1, at: 0 });

/** What a peer is told next. */
export interface Stretch<Entry> {
  /** The log begins again: what the peer was told before no longer holds. */
  readonly restart: boolean;
  readonly entries: Entry[];
  /** Nothing comes behind it for now. */
  readonly last: boolean;
}

export class ChangeLog<Entry> {
  readonly #sizeOf: (entry: Entry) => number;
  #entries: Entry[] = [];
  #generation = 0;

  /** `sizeOf`: bytes that an entry takes in a frame. */
  constructor(sizeOf: (entry: Entry) => number) {
    this.#sizeOf = sizeOf;
  }

  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Starts over when the log has become too long for what it says: `size` entries, which `all` gives. */
  compact(size: number, all: () => Entry[]): void {
    if (this.#entries.length <= 2 * size + MIN_COMPACT_ENTRIES) return;
    this.#entries = all();
    this.#generation++;
  }

  next(place: Place): Stretch<Entry> {
    const restart = place.generation !== this.#generation;
    const entries: Entry[] = [];
    let at = restart ? 0 : place.at;
    for (let bytes = 0; at < this.#entries.length && entries.length < MAX_PIECE_ENTRIES; at++) {
      bytes += this.#sizeOf(this.#entries[at]);
      if (bytes > PIECE_BYTES) break;
      entries.push(this.#entries[at]);
    }
    return { restart, entries, last: at === this.#entries.length };
  }

  /** What `next` gave has been sent. Returns whether that was the last of it. */
  sent(place: Place, { restart, entries }: Pick<Stretch<Entry>, 'restart' | 'entries'>): boolean {
    place.at = (restart ? 0 : place.at) + entries.length;
    place.generation = this.#generation;
    return place.at === this.#entries.length;
  }
}
