/**
 * What documents the other nodes have, as they say (CATALOGUE): name, size, time of change, by site and node. So a
 * node knows who can answer a request, and that nobody can, without having any of it itself. Pure.
 *
 *     site -> node -> { complete, partial, path -> document }
 */
import type { Document, Catalogue as Piece } from '../protocol/backplane/frames.ts';
import { resolvePath } from '../protocol/http/path.ts';

/** Documents of one site that are remembered of one node; what it says beyond that makes its list a partial one. */
export const MAX_DOCUMENTS = 65_536;
/** The most UTF-16 code units that the listed paths may have together: long paths count for several. */
export const MAX_LISTED_PATH_UNITS = 16 * 1024 * 1024;
const INDEX = 'index.html';

interface Listing {
  readonly documents: Map<string, Document>;
  /** UTF-16 code units of all listed paths. */
  pathUnits: number;
  /** The peer has sent its whole list. */
  complete: boolean;
  /** The list is too long to be told whole: the peer may have documents that are not on it. */
  partial: boolean;
}

/** Has the node what a request is for? `unknown` while it has not said everything. */
export type Holding = 'yes' | 'no' | 'unknown';

/** The listed names that a request path may lead to; null when it leads to no document whatever there is. */
export function documentNames(path: string): readonly string[] | null {
  const resolved = resolvePath(path);
  if (typeof resolved === 'number') return null;
  const index = resolved.file === '' ? INDEX : `${resolved.file}/${INDEX}`;
  // A directory asked for without its slash is redirected, which only a node that has the directory can do.
  return resolved.directory ? [index] : [resolved.file, index];
}

export class Catalogue {
  readonly #sites: ReadonlyMap<string, Map<number, Listing>>;

  /** `sites`: those of which anything is remembered. */
  constructor(sites: Iterable<string>) {
    this.#sites = new Map([...sites].map((site) => [site, new Map()]));
  }

  /** Takes a piece of what `node` says. */
  apply(node: number, piece: Piece): void {
    const nodes = this.#sites.get(piece.site);
    if (nodes === undefined) return;
    let listing = nodes.get(node);
    if (listing === undefined || piece.restart) {
      listing = { documents: new Map(), pathUnits: 0, complete: false, partial: false };
      nodes.set(node, listing);
    }
    for (const { path, document } of piece.entries) {
      const known = listing.documents.has(path);
      const hasRoom =
        listing.documents.size < MAX_DOCUMENTS && listing.pathUnits + path.length <= MAX_LISTED_PATH_UNITS;
      if (document === null) {
        if (listing.documents.delete(path)) listing.pathUnits -= path.length;
      } else if (known || hasRoom) {
        listing.documents.set(path, document);
        if (!known) listing.pathUnits += path.length;
      } else listing.partial = true;
    }
    listing.complete ||= piece.complete;
    listing.partial ||= piece.partial;
  }

  /** The node is gone: what it said holds no longer. */
  forget(node: number): void {
    for (const nodes of this.#sites.values()) nodes.delete(node);
  }

  holding(site: string, node: number, names: readonly string[]): Holding {
    const listing = this.#sites.get(site)?.get(node);
    if (listing === undefined) return 'unknown';
    if (names.some((name) => listing.documents.has(name))) return 'yes';
    return listing.complete && !listing.partial ? 'no' : 'unknown';
  }

  /** Bytes of the first of these documents that a node says it has; null when none does. */
  sizeOf(site: string, names: readonly string[]): number | null {
    for (const { documents } of this.#sites.get(site)?.values() ?? []) {
      for (const name of names) {
        const document = documents.get(name);
        if (document !== undefined) return document.sizeBytes;
      }
    }
    return null;
  }

  /** How many documents are known, over all sites and nodes. */
  get size(): number {
    let size = 0;
    for (const nodes of this.#sites.values())
      for (const { documents } of nodes.values()) size += documents.size;
    return size;
  }
}
