/**
 * What this node has of a site, as a log of changes that each peer has read up to somewhere. Pure.
 *
 *     log  [ +a +b +c | -b | +d ]     generation g      a peer's place: { generation, at }
 *
 * When the log has grown to twice what it says, it starts over as a new generation, and peers read it from the front.
 */
import { entrySize } from '../backplane/frame-catalogue.ts';
import { type Catalogue, type Document, FrameType } from '../backplane/frames.ts';
import type { Found } from './document-scan.ts';

/** One CATALOGUE frame; small enough not to delay what is urgent. */
export const PIECE_BYTES = 16 * 1024;
const MAX_PIECE_ENTRIES = 1024;
const MIN_COMPACT_ENTRIES = 256;

/** Where a peer is in the log. */
export interface Place {
  generation: number;
  at: number;
  /** What the peer was told of `complete` and `partial`. */
  told: string;
}

export const newPlace = (): Place => ({ generation: -1, at: 0, told: '' });

export class OwnDocuments {
  readonly #site: string;
  #documents = new Map<string, Document>();
  #log: Catalogue['entries'] = [];
  #generation = 0;
  #complete = false;
  #partial = false;

  constructor(site: string) {
    this.#site = site;
  }

  /** Takes over what a look at the tree has found. */
  update({ documents, partial }: Found): void {
    for (const [path, document] of documents) {
      const known = this.#documents.get(path);
      if (known?.sizeBytes !== document.sizeBytes || known.modifiedMs !== document.modifiedMs)
        this.#log.push({ path, document });
    }
    for (const path of this.#documents.keys())
      if (!documents.has(path)) this.#log.push({ path, document: null });
    this.#documents = documents;
    this.#complete = true;
    this.#partial = partial;
    if (this.#log.length > 2 * documents.size + MIN_COMPACT_ENTRIES) this.#compact();
  }

  #compact(): void {
    this.#log = [...this.#documents].map(([path, document]) => ({ path, document }));
    this.#generation++;
  }

  /** The next piece for a peer; null when it knows everything. */
  next(place: Place): Catalogue | null {
    const restart = place.generation !== this.#generation;
    let at = restart ? 0 : place.at;
    if (!restart && at === this.#log.length && place.told === this.#state) return null;
    const entries: Catalogue['entries'] = [];
    for (let bytes = 0; at < this.#log.length && entries.length < MAX_PIECE_ENTRIES; at++) {
      const entry = this.#log[at];
      bytes += entrySize(entry.path, entry.document);
      if (bytes > PIECE_BYTES) break;
      entries.push(entry);
    }
    const complete = this.#complete && at === this.#log.length;
    return {
      type: FrameType.CATALOGUE,
      site: this.#site,
      restart,
      complete,
      partial: this.#partial,
      entries,
    };
  }

  /** The piece that `next` gave has been sent. */
  sent(place: Place, piece: Catalogue): void {
    place.at = (piece.restart ? 0 : place.at) + piece.entries.length;
    place.generation = this.#generation;
    if (place.at === this.#log.length) place.told = this.#state;
  }

  get #state(): string {
    return `${this.#complete} ${this.#partial}`;
  }

  has(names: readonly string[]): boolean {
    return names.some((name) => this.#documents.has(name));
  }

  get size(): number {
    return this.#documents.size;
  }
}
