/** What a node answers a site's requests with: files, or an upstream, with a cache of its responses or without. */
import { parseAddress } from '../base/address.ts';
import type { ClusterConfig, SiteConfig } from '../base/config/config.ts';
import type { Count, Counters } from '../base/counters.ts';
import type { Loop } from '../kernel/loop/loop.ts';
import { Content } from '../protocol/http/content.ts';
import type { DigestFile } from '../protocol/http/file-cache.ts';
import type { RequestFraming } from '../protocol/http/forward.ts';
import type { AnswerOptions, Exchange } from './exchange.ts';
import type { ForwardedHeads } from './forwarded-heads.ts';
import type { ReceiveMemory } from './receive-memory.ts';
import type { Client, Request } from './request.ts';
import { type CacheUsage, ResponseCache } from './response-cache.ts';
import { Upstream } from './upstream.ts';

export interface SourceHost {
  readonly config: Pick<ClusterConfig, 'limits' | 'timeouts'>;
  readonly loop: Loop;
  readonly count: Count;
  /** Responses are read into it. */
  readonly memory: ReceiveMemory;
  readonly digest: DigestFile;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
}

/** What responses are made from. At most one of content and upstream is not null. */
export interface Source {
  readonly content: Content | null;
  readonly upstream: Upstream | null;
  /** The cache of the upstream's responses. */
  readonly cache: ResponseCache | null;
}

export function openSource(site: SiteConfig, node: string, host: SourceHost): Source {
  const source = site.content[node];
  const { config, loop, count } = host;
  const { limits, timeouts } = config;
  if (source === undefined) return { content: null, upstream: null, cache: null };
  if (source.kind === 'root') {
    const content = new Content({
      root: source.root,
      memoryBytes: limits.cacheBytes,
      openFiles: limits.openFiles,
      types: site.types,
      digest: host.digest,
    });
    return { content, upstream: null, cache: null };
  }
  const upstream = new Upstream({
    endpoint: { address: parseAddress(source.upstream.host), port: source.upstream.port },
    loop,
    memory: host.memory,
    connectMs: timeouts.upstreamConnectMs,
    answerMs: timeouts.upstreamSeconds * 1000,
    pauseMs: timeouts.upstreamPauseSeconds * 1000,
    count: (name) => count.add(name),
    log: (level, message, fields) => host.log(level, message, { site: site.name, ...fields }),
  });
  const cache =
    site.cache === null ? null : new ResponseCache(site.cache, { clock: loop, later: loop, count, upstream });
  return { content: null, upstream, cache };
}

/** Asks for a response; it comes in the exchange. */
export function ask(
  source: Pick<Upstream, 'request'>,
  { head, body, bodyFollows, client }: Pick<Request, 'head' | 'body' | 'bodyFollows' | 'client'>,
  heads: ForwardedHeads,
  answer: AnswerOptions,
): Exchange {
  const { clientAddress, isSecure } = client;
  // A cache may ask when the frame that a request came in is gone.
  const isNow = clientAddress === null || source instanceof Upstream;
  const from: Client = { clientAddress: isNow ? clientAddress : Buffer.from(clientAddress), isSecure };
  const forward = (framing: RequestFraming, conditions?: string) => heads.of(head, framing, from, conditions);
  return source.request({ head, isSecure, forward, body, bodyFollows, answer });
}

/** The sites with a catalogue, and the directory that a node has of each. */
export function rootsOf(config: ClusterConfig, node: string): Map<string, string | null> {
  const roots = new Map<string, string | null>();
  for (const site of config.sites) {
    const source = site.content[node];
    if (site.catalogue) roots.set(site.name, source?.kind === 'root' ? source.root : null);
  }
  return roots;
}

/** What the caches of several sites hold. */
export function countUsage(sources: readonly Source[], counters: Pick<Counters, 'set'>): void {
  const all = sources.flatMap(({ cache }) => (cache === null ? [] : [cache.usage]));
  const sum = (key: keyof CacheUsage) => all.reduce((total, usage) => total + usage[key], 0);
  counters.set('cache_resources_now', sum('resources'));
  counters.set('cache_bytes_now', sum('bytes'));
  counters.set('cache_evictions', sum('evictions'));
}
