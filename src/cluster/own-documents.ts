/** What this node has of a site on its disk, as a log that peers read (change-log.ts). Pure. */
import { entrySize } from '../protocol/backplane/frame-catalogue.ts';
import { type Catalogue, type Document, FrameType } from '../protocol/backplane/frames.ts';
import { ChangeLog, newPlace, type Place } from './change-log.ts';
import type { Found } from './document-scan.ts';

/** Where a peer is, and what it was told of `complete` and `partial`. */
export interface DocumentPlace extends Place {
  told: string;
}

export const newDocumentPlace = (): DocumentPlace => ({ ...newPlace(), told: '' });

export class OwnDocuments {
  readonly #site: string;
  #documents = new Map<string, Document>();
  readonly #log = new ChangeLog<Catalogue['entries'][number]>(({ path, document }) =>
    entrySize(path, document),
  );
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
        this.#log.add({ path, document });
    }
    for (const path of this.#documents.keys())
      if (!documents.has(path)) this.#log.add({ path, document: null });
    this.#documents = documents;
    this.#complete = true;
    this.#partial = partial;
    const all = () => [...documents].map(([path, document]) => ({ path, document }));
    this.#log.compact(documents.size, all);
  }

  /** The next piece for a peer; null when it knows everything. */
  next(place: DocumentPlace): Catalogue | null {
    const { restart, entries, last } = this.#log.next(place);
    if (!restart && entries.length === 0 && place.told === this.#state) return null;
    return {
      type: FrameType.CATALOGUE,
      site: this.#site,
      restart,
      complete: this.#complete && last,
      partial: this.#partial,
      entries,
    };
  }

  /** The piece that `next` gave has been sent. */
  sent(place: DocumentPlace, piece: Catalogue): void {
    if (this.#log.sent(place, piece)) place.told = this.#state;
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
