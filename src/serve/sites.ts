/**
 * The sites as this engine serves them: what it answers with, and which nodes can answer. A node without content of a
 * site still takes its requests from clients.
 */
import assert from 'node:assert';
import type { ClusterConfig, SiteConfig } from '../base/config/config.ts';
import { SiteTable } from '../base/config/sites.ts';
import type { Counters } from '../base/counters.ts';
import { Networks } from '../base/networks.ts';
import { documentHash } from '../base/text-hash.ts';
import { nowUs } from '../base/time.ts';
import { documentNames } from '../cluster/catalogue.ts';
import { Catalogues } from '../cluster/exchange-catalogues.ts';
import { Memories } from '../cluster/exchange-memories.ts';
import type { NodeLoad } from '../cluster/load.ts';
import { Outages } from '../cluster/outages.ts';
import type { Candidate } from '../cluster/policy/policy.ts';
import { siteDigest } from '../cluster/view.ts';
import type { Loop } from '../kernel/loop/loop.ts';
import { RejectReason, type Setup } from '../protocol/backplane/frames.ts';
import type { DigestFile } from '../protocol/http/file-cache.ts';
import { forwardsLeft } from '../protocol/http/forward.ts';
import { isInLoop } from '../protocol/http/forwarded.ts';
import { HeadCache } from '../protocol/http/head-cache.ts';
import { emptyReply, textReply } from '../protocol/http/reply.ts';
import { HeadError, type RequestHead } from '../protocol/http/request.ts';
import { type AnswerOptions, Exchange } from './exchange.ts';
import { type ExtraFields, extraFieldsOf, type IsTold, isToldOf } from './extra-fields.ts';
import { ForwardedHeads } from './forwarded-heads.ts';
import { ReceiveMemory } from './receive-memory.ts';
import type { Client, Request } from './request.ts';
import type { CacheUsage } from './response-cache.ts';
import { matcherOf } from './response-store.ts';
import { ask, countUsage, openSource, rootsOf, type Source } from './source.ts';
import { sentElsewhere, strictTransport } from './tls-rules.ts';
import type { UpstreamStatus } from './upstream.ts';
import { bodyBytesToCome, MAX_UNREAD_BODY_BYTES } from './upstream-request.ts';

const UPSTREAM_RECEIVE_BYTES = 256 * 1024;
const MAX_TARGET_BYTES = 8192;

/** One site, and what this node answers its requests with. */
export interface Site extends Source {
  readonly config: SiteConfig;
  /** What nodes know it by in SETUP. */
  readonly digest: number;
  /** Nodes that serve it and can be reached; renewed when links come and go. */
  candidates: Candidate[];
  /** Nodes whose upstream has failed. */
  readonly outages: Outages;
}

/** Whether this node has something to answer a site's requests with. */
export function answers(site: Site): boolean {
  return site.content !== null || site.upstream !== null;
}

/** Whether one of the nodes that can be reached may want the body of a request: the others have files. */
export function takesBodies(site: Site | null): boolean {
  return site?.candidates.some(({ name }) => site.config.content[name]?.kind === 'upstream') ?? false;
}

/** What the admin API tells of a site. */
export interface SiteStatus {
  readonly site: string;
  /** The upstream of this node; null: it has none. */
  readonly upstream: UpstreamStatus | null;
  /** The cache of its responses; null: there is none. */
  readonly cache: CacheUsage | null;
  /** For each node whose upstream has failed: for how long it is passed over. */
  readonly passedOver: Readonly<Record<string, { readonly forMs: number }>>;
}

/** What is asked of the engine. */
export interface SitesHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly loop: Loop;
  readonly counters: Counters;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
  readonly digests: { readonly ask: DigestFile };
}

/** What a response is made for. */
type Asked = Pick<Request, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation' | 'client'> &
  Partial<Pick<Request, 'upstreamFailed' | 'estimates'>>;

export class Sites {
  readonly #host: SitesHost;
  readonly #table: SiteTable;
  readonly #sites = new Map<SiteConfig, Site>();
  /** A receive buffer that only upstreams use: what comes from one may set off reads into other buffers. */
  readonly #memory = new ReceiveMemory(UPSTREAM_RECEIVE_BYTES);
  readonly #forwarded: ForwardedHeads;
  /** Whether a client is told how its responses came to be. */
  readonly isTold: IsTold;
  readonly extraFields: ExtraFields;
  readonly catalogues: Catalogues;
  readonly memories: Memories;
  readonly heads: HeadCache;

  constructor(host: SitesHost) {
    const { config, self } = host;
    const { limits, forward } = config;
    const trusted = new Networks(forward.trusted);
    this.#host = host;
    this.isTold = isToldOf(config.observe.serverTiming);
    this.extraFields = extraFieldsOf(config.observe.servedBy, this.#name, this.isTold);
    this.#forwarded = new ForwardedHeads({ ...forward, trusts: (address) => trusted.has(address) });
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
    const { loop, counters: count, digests, config: cluster } = this.#host;
    const source = openSource(config, this.#name, {
      config: cluster,
      loop,
      count,
      memory: this.#memory,
      digest: digests.ask,
      log: (level, message, fields) => this.#host.log(level, message, fields),
    });
    return { ...source, config, digest: siteDigest(config), candidates: [], outages: new Outages() };
  }

  /** The site of a request, by its Host; null when there is none. */
  find(host: string): Site | null {
    const config = this.#table.find(host);
    return config === undefined ? null : this.#sites.get(config)!;
  }

  /** Finds anew which nodes can answer. `mayAsk`: whether requests of a site may go to another node. */
  renewCandidates(mayAsk: (node: number, site: string) => boolean, loadOf: (node: number) => NodeLoad): void {
    const { nodes } = this.#host.config;
    const { self } = this.#host;
    for (const site of this.#sites.values()) {
      site.candidates = nodes
        .map(({ name }, index) => ({ name, index, load: loadOf(index) }))
        .filter(({ name }) => site.config.content[name] !== undefined)
        .filter(({ index, load }) => index === self || (mayAsk(index, site.config.name) && load.accepting));
    }
  }

  /** The nodes that can answer a request: with a catalogue those that have what is asked for, or may have it. */
  candidatesFor(site: Site, head: RequestHead): readonly Candidate[] {
    const candidates = site.outages.without(site.candidates, this.#host.loop.nowMs);
    if (!site.config.catalogue) return candidates;
    const names = documentNames(head.path);
    if (names === null || (head.method !== 'GET' && head.method !== 'HEAD')) return candidates;
    const { name } = site.config;
    const judged = candidates.map((candidate) => ({
      candidate,
      holding: this.catalogues.holding(name, candidate.index, names),
    }));
    const sure = judged.some(({ holding }) => holding === 'yes');
    return judged
      .filter(({ holding }) => holding === 'yes' || (!sure && holding === 'unknown'))
      .map(({ candidate }) => candidate);
  }

  /** The candidates that are known to have the requested document in memory. */
  holders(site: string, head: RequestHead, candidates: readonly Candidate[]): readonly Candidate[] {
    const names = head.method === 'GET' || head.method === 'HEAD' ? documentNames(head.path) : null;
    if (names === null) return [];
    // The first name counts: the second is what a redirection would lead to.
    const document = documentHash(names[0]);
    return candidates.filter(({ index }) => this.memories.has(site, index, document));
  }

  /** Bytes of what a request is for, as another node's catalogue has it; null when none does. */
  listedBytes(site: string, path: string): number | null {
    const names = documentNames(path);
    return names === null ? null : this.catalogues.sizeOf(site, names);
  }

  /** The answer to a request, or what is left of it; else why it cannot go on here. */
  exchange(site: Site | null, asked: Asked, mechanism: string, durationUs: number): Exchange | RejectReason {
    const { continuation } = asked;
    if (continuation === null) return this.#answer(site, asked, mechanism, durationUs);
    // An upstream is not asked twice: what it answers now need not be what it answered then. What is stored is known.
    const exchange =
      site?.content != null
        ? this.#answer(site, asked, mechanism, durationUs)
        : site?.cache?.find(asked.head, asked.client.isSecure, {
            close: asked.close,
            extraFields: '',
            nowMs: this.#host.loop.wallMs,
          });
    if (exchange == null) return RejectReason.DIFFERENT;
    if (exchange.goOnFrom(continuation)) return exchange;
    const { isIdentityPending } = exchange;
    exchange.end();
    return isIdentityPending ? RejectReason.PENDING : RejectReason.DIFFERENT;
  }

  /** That the node is lost which was to answer, or that the client asks for too much. */
  failure(
    request: Pick<Request, 'head' | 'close' | 'startUs' | 'client'>,
    status: 429 | 502 = 502,
  ): Exchange {
    const { head, close, startUs, client } = request;
    const extraFields = this.extraFields('local', nowUs() - startUs, client);
    return Exchange.error(status, head, { close, extraFields, nowMs: this.#host.loop.wallMs });
  }

  #answer(site: Site | null, asked: Asked, mechanism: string, durationUs: number): Exchange {
    const { head, bodyFollows, client } = asked;
    const strict = site === null ? '' : strictTransport(site.config, client);
    const extraFields = this.extraFields(mechanism, durationUs, client, asked.estimates) + strict;
    const nowMs = this.#host.loop.wallMs;
    const { tlsPort } = this.#host.config.listen;
    const elsewhere = site === null ? null : sentElsewhere(site.config, asked, tlsPort, extraFields, nowMs);
    if (elsewhere !== null) return elsewhere;
    const upstream = site?.upstream ?? null;
    const answering = { close: asked.close, extraFields, nowMs };
    const stored = site?.cache?.find(head, client.isSecure, answering) ?? null;
    if (stored !== null) return stored;
    if (site !== null && upstream !== null && forwardsLeft(head) !== 0 && !isInLoop(head))
      return ask(site.cache ?? upstream, asked, this.#forwarded, answering);
    // The body is of no use here, but the client may send all of it before it reads the answer.
    const isTooLong = bodyFollows && bodyBytesToCome(head, 0) > MAX_UNREAD_BODY_BYTES;
    const answer: AnswerOptions = { close: asked.close || isTooLong, extraFields, nowMs };
    if (site?.content != null) return Exchange.of(site.content.respond(head, nowMs, answer));
    const context = { method: head.method, minor: head.minor, ...answer };
    if (upstream !== null)
      return Exchange.of(isInLoop(head) ? textReply(508, '', context) : emptyReply(204, '', context));
    if (site !== null) return Exchange.error(asked.upstreamFailed ? 502 : 503, head, answer);
    return Exchange.of(textReply(404, '', context));
  }

  /**
   * Serves a request for another node, or goes on with its response: the exchange's pump then holds exactly the bytes
   * that are left. Else why not: this node has nothing to serve it with, or another body, takes it for
   * another site's, or does not know yet.
   */
  serve(
    setup: Pick<Setup, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'> &
      Partial<Pick<Setup, 'site' | 'estimates'>>,
    mechanism: string,
    client: Client,
  ): Exchange | RejectReason {
    const startUs = nowUs();
    const head = this.heads.parse(setup.head, 0, setup.head.length);
    const { body, bodyFollows, close, continuation, estimates = null } = setup;
    const unserved = continuation === null ? RejectReason.NOT_SERVED : RejectReason.DIFFERENT;
    if (head === null || head instanceof HeadError) return unserved;
    const site = this.find(head.host);
    // An origin decides by itself what no site has.
    if (site === null ? mechanism !== 'boost' : !answers(site)) return unserved;
    if (setup.site !== undefined && setup.site !== site?.digest) return unserved;
    const asked = { head, body, bodyFollows, close, continuation, client, estimates };
    return this.exchange(site, asked, mechanism, nowUs() - startUs);
  }

  /** The head of a request that has been parsed before. */
  parsed(headBytes: Buffer): RequestHead {
    const head = this.heads.parse(headBytes, 0, headBytes.length);
    assert(head !== null && !(head instanceof HeadError), 'serve() has parsed it');
    return head;
  }

  /** The upstream of a node has failed a request of a site. */
  failed({ config, outages }: Site, node: number): void {
    if (!outages.failed(node, this.#host.loop.nowMs)) return;
    const { name } = this.#host.config.nodes[node];
    this.#host.log('warn', 'node passed over: its upstream failed', { site: config.name, node: name });
  }

  /** A node has answered a request of a site; with 502 and 504 it says that its upstream has not. */
  answered({ config, outages }: Site, node: number, status: number): void {
    if (outages.size === 0 || status === 502 || status === 504) return;
    const afterMs = outages.answered(node, this.#host.loop.nowMs);
    if (afterMs === null) return;
    const { name } = this.#host.config.nodes[node];
    this.#host.log('info', 'node answers again', { site: config.name, node: name, afterMs });
  }

  /** Looks after the upstreams. Returns whether one waits for something. */
  tick(): boolean {
    let waiting = false;
    for (const { upstream, cache } of this.#sites.values()) {
      if (upstream?.tick()) waiting = true;
      if (cache?.tick()) waiting = true;
    }
    return waiting;
  }

  /** Upstreams of this node that fail, and nodes that are passed over, site by site. */
  count(): void {
    const sites = [...this.#sites.values()];
    const { counters } = this.#host;
    counters.set('upstreams_failing_now', sites.filter(({ upstream }) => upstream?.isFailing).length);
    countUsage(sites, counters);
    counters.set(
      'nodes_passed_over_now',
      sites.reduce((sum, { outages }) => sum + outages.size, 0),
    );
  }

  /** For the admin API: the sites with an upstream, at this node or another. */
  status(): SiteStatus[] {
    const { loop, config } = this.#host;
    const all = [...this.#sites.values()].map(({ config: { name: site }, upstream, cache, outages }) => ({
      site,
      upstream: upstream?.status() ?? null,
      cache: cache?.usage ?? null,
      passedOver: Object.fromEntries(
        outages.list(loop.nowMs).map(({ node, forMs }) => [config.nodes[node].name, { forMs }]),
      ),
    }));
    return all.filter(({ upstream, passedOver }) => upstream !== null || Object.keys(passedOver).length > 0);
  }

  /** Forgets stored responses of a site; `path` as in `matcherOf`. Returns of how many resources. */
  purge(name: string, path: string): number {
    const site = [...this.#sites.values()].find(({ config }) => config.name === name);
    return site?.cache?.purge(matcherOf(path)) ?? 0;
  }

  close(): void {
    this.catalogues.close();
    for (const site of this.#sites.values()) {
      site.content?.close();
      site.upstream?.close();
    }
  }
}
