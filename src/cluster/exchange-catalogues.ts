/**
 * Keeps catalogues between one engine and its peers: looks at the own root directories step by step, tells every link
 * what changed, takes what they tell.
 */
import type { Catalogue as Piece } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';
import { Catalogue, type Holding } from './catalogue.ts';
import { type Found, scanDocuments } from './document-scan.ts';
import { type DocumentPlace, newDocumentPlace, OwnDocuments } from './own-documents.ts';
import { publish } from './publish.ts';
import { goOn } from './steps.ts';

/** Between the end of one look at a tree and the start of the next. */
const RESCAN_MS = 1000;
/** Entries looked at in one step: a few hundred microseconds. */
const STEP_ENTRIES = 64;

interface Own {
  readonly root: string;
  readonly documents: OwnDocuments;
  readonly places: Map<Link, DocumentPlace>;
  scan: Generator<void, Found> | null;
  nextScanMs: number;
}

export class Catalogues {
  readonly #self: number;
  readonly #remote: Catalogue;
  readonly #own = new Map<string, Own>();

  /** `roots`: the directories of this node by site; null where it has none and only hears of others'. */
  constructor(self: number, roots: ReadonlyMap<string, string | null>) {
    this.#self = self;
    this.#remote = new Catalogue(roots.keys());
    for (const [site, root] of roots) {
      if (root === null) continue;
      const documents = new OwnDocuments(site);
      this.#own.set(site, { root, documents, places: new Map(), scan: null, nextScanMs: 0 });
    }
  }

  /** Has `node` what is asked for? By `documentNames`. */
  holding(site: string, node: number, names: readonly string[]): Holding {
    if (node !== this.#self) return this.#remote.holding(site, node, names);
    // What is new here the content finds by itself.
    return this.#own.get(site)?.documents.has(names) ? 'yes' : 'unknown';
  }

  /** Bytes of a document that another node has told about; null when none has. By `documentNames`. */
  sizeOf(site: string, names: readonly string[]): number | null {
    return this.#remote.sizeOf(site, names);
  }

  take(node: number, piece: Piece): void {
    this.#remote.apply(node, piece);
  }

  linkUp(link: Link): void {
    for (const own of this.#own.values()) own.places.set(link, newDocumentPlace());
  }

  /** `last`: no other link to that node is up. */
  linkDown(link: Link, last: boolean): void {
    for (const own of this.#own.values()) own.places.delete(link);
    if (last && link.node >= 0) this.#remote.forget(link.node);
  }

  /** A little of everything; called every round of housekeeping. */
  tick(nowMs: number): void {
    for (const own of this.#own.values()) {
      this.#look(own, nowMs);
      for (const [link, place] of own.places) publish(own.documents, link, place);
    }
  }

  #look(own: Own, nowMs: number): void {
    if (own.scan === null && nowMs < own.nextScanMs) return;
    own.scan ??= scanDocuments(own.root);
    const found = goOn(own.scan, STEP_ENTRIES);
    if (found === null) return;
    own.documents.update(found);
    own.scan = null;
    own.nextScanMs = nowMs + RESCAN_MS;
  }

  /** Documents known, own and others'. */
  get size(): number {
    let size = this.#remote.size;
    for (const { documents } of this.#own.values()) size += documents.size;
    return size;
  }

  close(): void {
    for (const own of this.#own.values()) own.scan?.return({ documents: new Map(), partial: true });
  }
}
