/**
 * The sites as this engine serves them: what it answers with, and which nodes can answer. A node without content of a
 * site still takes its requests from clients.
 */
import assert from 'node:assert';
import { parseAddress } from '../base/address.ts';
import type { ClusterConfig, SiteConfig } from '../base/config/config.ts';
import { SiteTable } from '../base/config/sites.ts';
import type { Counters } from '../base/counters.ts';
import { documentHash } from '../base/text-hash.ts';
import { nowUs } from '../base/time.ts';
import { documentNames } from '../cluster/catalogue.ts';
import { Catalogues } from '../cluster/exchange-catalogues.ts';
import { Memories } from '../cluster/exchange-memories.ts';
import type { NodeLoad } from '../cluster/load.ts';
import type { Candidate } from '../cluster/policy/policy.ts';
import { allocate } from '../kernel/linux/memory.ts';
import type { Loop } from '../kernel/loop/loop.ts';
import type { Setup } from '../protocol/backplane/frames.ts';
import { Content } from '../protocol/http/content.ts';
import { HeadCache } from '../protocol/http/head-cache.ts';
import { textReply } from '../protocol/http/reply.ts';
import { HeadError, type RequestHead } from '../protocol/http/request.ts';
import { Exchange } from './exchange.ts';
import type { Request } from './request.ts';
import { Upstream } from './upstream.ts';

const UPSTREAM_RECEIVE_BYTES = 256 * 1024;
const MAX_TARGET_BYTES = 8192;

/** One site. */
export interface Site {
  readonly config: SiteConfig;
  readonly content: Content | null;
  readonly upstream: Upstream | null;
  /** Nodes that serve it and can be reached; renewed when links come and go. */
  candidates: Candidate[];
}

/** Whether this node has something to answer a site's requests with. */
export function answers(site: Site): boolean {
  return site.content !== null || site.upstream !== null;
}

/** What is asked of the engine. */
export interface SitesHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly loop: Loop;
  readonly counters: Counters;
}

/** What a response is made for. */
type Asked = Pick<Request, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'>;

export class Sites {
  readonly #host: SitesHost;
  readonly #table: SiteTable;
  readonly #sites = new Map<SiteConfig, Site>();
  /** Of upstreams alone: what comes from one may have other buffers read. */
  readonly #memory = allocate(UPSTREAM_RECEIVE_BYTES);
  readonly catalogues: Catalogues;
  readonly memories: Memories;
  readonly heads: HeadCache;

  constructor(host: SitesHost) {
    const { config, self } = host;
    const { limits } = config;
    this.#host = host;
    this.heads = new HeadCache({
      headBytes: limits.headBytes,
      targetBytes: Math.min(MAX_TARGET_BYTES, limits.headBytes),
      fields: limits.headFields,
    });
    this.#table = new SiteTable(config.sites);
    this.catalogues = new Catalogues(self, rootsOf(config, this.#name));
    for (const site of config.sites) this.#sites.set(site, this.#open(site));
    const contents = [...this.#sites.values()].map(({ config, content }) => [config.name, content] as const);
    this.memories = new Memories(self, new Map(contents));
  }

  get #name(): string {
    return this.#host.config.nodes[this.#host.self].name;
  }

  #open(config: SiteConfig): Site {
    const source = config.content[this.#name];
    const { loop, counters } = this.#host;
    const { limits, timeouts } = this.#host.config;
    const upstream =
      source?.kind === 'upstream'
        ? new Upstream({
            endpoint: { address: parseAddress(source.upstream.host), port: source.upstream.port },
            loop,
            receiveBuffer: this.#memory.bytes,
            receiveAddress: this.#memory.address,
            connectMs: timeouts.upstreamConnectMs,
            silenceMs: timeouts.upstreamSeconds * 1000,
            count: (name) => counters.add(name),
          })
        : null;
    const content =
      source?.kind === 'root'
        ? new Content({ root: source.root, memoryBytes: limits.cacheBytes, openFiles: limits.openFiles })
        : null;
    return { config, content, upstream, candidates: [] };
  }

  /** The site of a request, by its Host; null when there is none. */
  find(host: string): Site | null {
    const config = this.#table.find(host);
    return config === undefined ? null : this.#sites.get(config)!;
  }

  /** Finds anew which nodes can answer. `isUp`: a node that can be reached, or this one. */
  renewCandidates(isUp: (node: number) => boolean, loadOf: (node: number) => NodeLoad): void {
    const { nodes } = this.#host.config;
    const { self } = this.#host;
    for (const site of this.#sites.values()) {
      site.candidates = nodes
        .map(({ name }, index) => ({ name, index, load: loadOf(index) }))
        .filter(({ name }) => site.config.content[name] !== undefined)
        .filter(({ index, load }) => index === self || (isUp(index) && load.accepting));
    }
  }

  /** The nodes that can answer a request: with a catalogue those that have what is asked for, or may have it. */
  candidatesFor(site: Site, head: RequestHead): Candidate[] {
    if (!site.config.catalogue) return site.candidates;
    const names = documentNames(head.path);
    if (names === null || (head.method !== 'GET' && head.method !== 'HEAD')) return site.candidates;
    const { name } = site.config;
    const judged = site.candidates.map((candidate) => ({
      candidate,
      holding: this.catalogues.holding(name, candidate.index, names),
    }));
    const sure = judged.some(({ holding }) => holding === 'yes');
    return judged
      .filter(({ holding }) => holding === 'yes' || (!sure && holding === 'unknown'))
      .map(({ candidate }) => candidate);
  }

  /** Those of `candidates` that are known to have what a request is for in memory. */
  holders(site: string, head: RequestHead, candidates: readonly Candidate[]): readonly Candidate[] {
    const names = head.method === 'GET' || head.method === 'HEAD' ? documentNames(head.path) : null;
    if (names === null) return [];
    // Behind it there is only what a redirection leads to.
    const document = documentHash(names[0]);
    return candidates.filter(({ index }) => this.memories.has(site, index, document));
  }

  /** Bytes of what a request is for, as another node's catalogue has it; null when none does. */
  listedBytes(site: string, path: string): number | null {
    const names = documentNames(path);
    return names === null ? null : this.catalogues.sizeOf(site, names);
  }

  /** Field lines that every response carries when the configuration says so. */
  extraFields(mechanism: string, durationUs: number): string {
    const { servedBy, serverTiming } = this.#host.config.observe;
    let lines = servedBy ? `X-Served-By: ${this.#name}\r\n` : '';
    if (serverTiming)
      lines += `Server-Timing: handoff;desc=${mechanism};dur=${(durationUs / 1000).toFixed(3)}\r\n`;
    return lines;
  }

  /** The answer to a request, or what is left of it; null when it is to go on and is another one here. */
  exchange(site: Site | null, asked: Asked, mechanism: string, durationUs: number): Exchange | null {
    const { continuation } = asked;
    if (continuation === null) return this.#answer(site, asked, mechanism, durationUs);
    // An upstream is not asked twice: what it answers now need not be what it answered then.
    if (site === null || site.content === null) return null;
    const exchange = this.#answer(site, asked, mechanism, durationUs);
    if (exchange.goOnFrom(continuation)) return exchange;
    exchange.end();
    return null;
  }

  #answer(site: Site | null, asked: Asked, mechanism: string, durationUs: number): Exchange {
    const { head, body, bodyFollows, close } = asked;
    const { servedBy, serverTiming } = this.#host.config.observe;
    const extraFields = servedBy || serverTiming ? this.extraFields(mechanism, durationUs) : '';
    const answer = { close, extraFields, nowMs: this.#host.loop.wallMs };
    if (site?.content != null) return Exchange.of(site.content.respond(head, answer.nowMs, answer));
    if (site?.upstream != null) return site.upstream.request(head, body, bodyFollows, answer);
    if (site !== null) return Exchange.error(503, head, answer);
    return Exchange.of(textReply(404, '', { method: head.method, minor: head.minor, ...answer }));
  }

  /**
   * Serves a request for another node, or goes on with its response: the exchange's pump then holds exactly the bytes
   * that are left. Null: this node has nothing to serve it with, or has another body.
   */
  serve(
    setup: Pick<Setup, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'>,
    mechanism: string,
  ): Exchange | null {
    const startUs = nowUs();
    const head = this.heads.parse(setup.head, 0, setup.head.length);
    if (head === null || head instanceof HeadError) return null;
    const site = this.find(head.host);
    if (site === null || !answers(site)) return null;
    const { body, bodyFollows, close, continuation } = setup;
    const asked = { head, body, bodyFollows, close, continuation };
    return this.exchange(site, asked, mechanism, nowUs() - startUs);
  }

  /** The head of a request that has been parsed before. */
  parsed(headBytes: Buffer): RequestHead {
    const head = this.heads.parse(headBytes, 0, headBytes.length);
    assert(head !== null && !(head instanceof HeadError), 'serve() has parsed it');
    return head;
  }

  /** Looks after the upstreams. Returns whether one waits for something. */
  tick(): boolean {
    let waiting = false;
    for (const site of this.#sites.values()) if (site.upstream?.tick()) waiting = true;
    return waiting;
  }

  close(): void {
    this.catalogues.close();
    for (const site of this.#sites.values()) {
      site.content?.close();
      site.upstream?.close();
    }
  }
}

/** The sites with a catalogue, and the directory that a node has of each. */
function rootsOf(config: ClusterConfig, node: string): Map<string, string | null> {
  const roots = new Map<string, string | null>();
  for (const site of config.sites) {
    const source = site.content[node];
    if (site.catalogue) roots.set(site.name, source?.kind === 'root' ? source.root : null);
  }
  return roots;
}
