/**
 * What documents the other nodes have in memory, as their engines say (CACHED), by hash. Hints: a wrong one costs time.
 * Pure.
 *
 *     site -> node -> engine -> documents          and, for quick answers, site -> node -> document -> engines with it
 */
import type { Cached } from '../protocol/backplane/frames.ts';

/** Documents of one site that are remembered of one engine; what it says beyond that is forgotten. */
export const MAX_CACHED_DOCUMENTS = 65_536;

interface NodeMemory {
  readonly engines: Map<number, Set<number>>;
  /** How many engines have a document. */
  readonly counts: Map<number, number>;
}

export class MemoryTable {
  readonly #sites: ReadonlyMap<string, Map<number, NodeMemory>>;

  /** `sites`: those of which anything is remembered. */
  constructor(sites: Iterable<string>) {
    this.#sites = new Map([...sites].map((site) => [site, new Map()]));
  }

  /** Takes a piece of what an engine of `node` says. */
  apply(node: number, engine: number, { site, restart, entries }: Cached): void {
    const nodes = this.#sites.get(site);
    if (nodes === undefined) return;
    const memory = nodes.get(node) ?? { engines: new Map(), counts: new Map() };
    nodes.set(node, memory);
    if (restart) drop(memory, engine);
    const documents = memory.engines.get(engine) ?? new Set();
    memory.engines.set(engine, documents);
    for (const { document, held } of entries) {
      if (held === documents.has(document) || (held && documents.size >= MAX_CACHED_DOCUMENTS)) continue;
      if (held) documents.add(document);
      else documents.delete(document);
      count(memory, document, held ? 1 : -1);
    }
  }

  /** The link to an engine is gone, and with it what it said. */
  forget(node: number, engine: number): void {
    for (const nodes of this.#sites.values()) {
      const memory = nodes.get(node);
      if (memory !== undefined) drop(memory, engine);
    }
  }

  has(site: string, node: number, document: number): boolean {
    return this.#sites.get(site)?.get(node)?.counts.has(document) ?? false;
  }

  /** How many documents a node is known to have in memory, over all sites. */
  sizeOf(node: number): number {
    let size = 0;
    for (const nodes of this.#sites.values()) size += nodes.get(node)?.counts.size ?? 0;
    return size;
  }

  /** How many documents are known of all nodes together. */
  get size(): number {
    let size = 0;
    for (const nodes of this.#sites.values()) for (const { counts } of nodes.values()) size += counts.size;
    return size;
  }
}

function drop(memory: NodeMemory, engine: number): void {
  for (const document of memory.engines.get(engine) ?? []) count(memory, document, -1);
  memory.engines.delete(engine);
}

function count({ counts }: NodeMemory, document: number, by: 1 | -1): void {
  const engines = (counts.get(document) ?? 0) + by;
  if (engines === 0) counts.delete(document);
  else counts.set(document, engines);
}
