/** What this engine has of a site in memory, by hash, as a log that peers read (change-log.ts). Pure. */
import { CACHED_ENTRY_BYTES } from '../protocol/backplane/frame-cached.ts';
import { type Cached, FrameType } from '../protocol/backplane/frames.ts';
import { ChangeLog, type Place } from './change-log.ts';

export class OwnMemory {
  readonly #site: string;
  #documents: ReadonlySet<number> = new Set();
  readonly #log = new ChangeLog<Cached['entries'][number]>(() => CACHED_ENTRY_BYTES);

  constructor(site: string) {
    this.#site = site;
  }

  /** Takes over what a look at the memory has found. */
  update(documents: ReadonlySet<number>): void {
    for (const document of documents)
      if (!this.#documents.has(document)) this.#log.add({ document, held: true });
    for (const document of this.#documents)
      if (!documents.has(document)) this.#log.add({ document, held: false });
    this.#documents = documents;
    this.#log.compact(documents.size, () => [...documents].map((document) => ({ document, held: true })));
  }

  /** The next piece for a peer; null when it knows everything. */
  next(place: Place): Cached | null {
    const { restart, entries } = this.#log.next(place);
    // A peer that was told nothing yet has nothing to forget.
    const forgets = restart && place.generation >= 0;
    if (entries.length === 0 && !forgets) return null;
    return { type: FrameType.CACHED, site: this.#site, restart, entries };
  }

  /** The piece that `next` gave has been sent. */
  sent(place: Place, piece: Cached): void {
    this.#log.sent(place, piece);
  }

  has(document: number): boolean {
    return this.#documents.has(document);
  }

  get size(): number {
    return this.#documents.size;
  }
}
