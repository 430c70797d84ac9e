/**
 * Keeps hints of what is in memory between one engine and its peers: looks at the own file caches step by step, tells
 * every link what changed, takes what they tell. The counterpart of exchange-catalogues.ts, for policy `cached`.
 */
import type { Cached } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';
import type { Content } from '../protocol/http/content.ts';
import { newPlace, type Place } from './change-log.ts';
import { scanMemory } from './memory-scan.ts';
import { MemoryTable } from './memory-table.ts';
import { OwnMemory } from './own-memory.ts';
import { publish } from './publish.ts';
import { goOn } from './steps.ts';

/** Between the end of one look at a cache and the start of the next. */
const LOOK_MS = 500;
/** Every so many looks, large files that nobody has asked for meanwhile are looked at as well. */
const LOOKS_AT_ALL = 8;
/** Large files looked at in one step: a few hundred microseconds. */
const STEP_FILES = 64;

const NOTHING: ReadonlySet<number> = new Set();

interface Own {
  readonly content: Pick<Content, 'files'>;
  readonly memory: OwnMemory;
  readonly places: Map<Link, Place>;
  look: Generator<void, Set<number>> | null;
  looks: number;
  nextLookMs: number;
}

export class Memories {
  readonly #self: number;
  readonly #remote: MemoryTable;
  readonly #own = new Map<string, Own>();

  /** `contents`: what this node serves, by site; null where it has no files and only hears of others'. */
  constructor(self: number, contents: ReadonlyMap<string, Pick<Content, 'files'> | null>) {
    this.#self = self;
    this.#remote = new MemoryTable(contents.keys());
    for (const [site, content] of contents) {
      if (content === null) continue;
      const memory = new OwnMemory(site);
      this.#own.set(site, { content, memory, places: new Map(), look: null, looks: 0, nextLookMs: 0 });
    }
  }

  /** Whether a node has a document in memory; of this node only this engine's memory is known. By `documentHash`. */
  has(site: string, node: number, document: number): boolean {
    if (node !== this.#self) return this.#remote.has(site, node, document);
    return this.#own.get(site)?.memory.has(document) ?? false;
  }

  take(link: Link, piece: Cached): void {
    this.#remote.apply(link.node, link.peer!.engine, piece);
  }

  linkUp(link: Link): void {
    for (const own of this.#own.values()) own.places.set(link, newPlace());
  }

  linkDown(link: Link): void {
    for (const own of this.#own.values()) own.places.delete(link);
    if (link.peer !== null) this.#remote.forget(link.node, link.peer.engine);
  }

  /** A little of everything; called every round of housekeeping. `isAsked`: whether a site's policy goes by memory. */
  tick(nowMs: number, isAsked: (site: string) => boolean): void {
    for (const [site, own] of this.#own) {
      if (isAsked(site)) look(own, nowMs);
      else if (own.memory.size > 0) own.memory.update(NOTHING);
      for (const [link, place] of own.places) publish(own.memory, link, place);
    }
  }

  /** How many documents a node is known to have in memory, over all sites; of this node, this engine. */
  sizeOf(node: number): number {
    return node === this.#self ? this.#ownSize : this.#remote.sizeOf(node);
  }

  /** How many documents are known of all nodes together. */
  get size(): number {
    return this.#ownSize + this.#remote.size;
  }

  get #ownSize(): number {
    let size = 0;
    for (const { memory } of this.#own.values()) size += memory.size;
    return size;
  }
}

function look(own: Own, nowMs: number): void {
  if (own.look === null) {
    if (nowMs < own.nextLookMs) return;
    own.look = scanMemory(own.content.files, own.looks++ % LOOKS_AT_ALL === 0);
  }
  const found = goOn(own.look, STEP_FILES);
  if (found === null) return;
  own.memory.update(found);
  own.look = null;
  own.nextLookMs = nowMs + LOOK_MS;
}
