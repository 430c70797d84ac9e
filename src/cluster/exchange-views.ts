/** Keeps views between one engine and its peers: tells every link the own one, compares what they tell. */
import type { ClusterConfig, SiteConfig } from '../base/config/config.ts';
import type { View } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';
import { type Comparison, compareViews, viewOf } from './view.ts';

/** Differences in one line of the log. */
const MAX_TOLD = 20;

export interface ViewsHost {
  readonly config: ClusterConfig;
  readonly self: number;
  /** The first engine of a node tells what differs. */
  readonly index: number;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
}

export class Views {
  readonly #host: ViewsHost;
  #own: View;
  /** For each node, its last VIEW, and how it compares with this node's own. */
  readonly #peers = new Map<number, { readonly view: View; readonly comparison: Comparison }>();

  constructor(host: ViewsHost) {
    this.#host = host;
    this.#own = viewOf(host.config, host.self, host.config.sites);
  }

  /** VIEW, for a peer whose link has come up. */
  get frame(): View {
    return this.#own;
  }

  /** A node has told how it sees the cluster. Returns whether what may be handed to it can have changed. */
  heard(node: number, view: View): boolean {
    const before = this.#peers.get(node)?.comparison;
    const comparison = this.#compare(node, view);
    this.#peers.set(node, { view, comparison });
    const text = comparison.differences.join('; ');
    if (text === (before?.differences.join('; ') ?? '')) return before === undefined;
    this.#tell(node, comparison);
    return true;
  }

  #compare(node: number, view: View): Comparison {
    const { config, self } = this.#host;
    const names = { own: config.nodes[self].name, peer: config.nodes[node].name };
    const serves = (site: string, name: string) =>
      config.sites.some((one) => one.name === site && Object.hasOwn(one.content, name));
    return compareViews(this.#own, view, names, serves);
  }

  #tell(node: number, { differences }: Comparison): void {
    const { config, index } = this.#host;
    if (index > 0) return;
    const peer = config.nodes[node].name;
    if (differences.length === 0)
      return this.#host.log('info', 'the configuration of a node agrees with this one’s', { peer });
    const more = differences.length - MAX_TOLD;
    const told = differences.slice(0, MAX_TOLD).concat(more > 0 ? [`and ${more} more`] : []);
    const advice =
      'give all nodes the same file; until then no request is handed to a node that would answer otherwise';
    this.#host.log('warn', 'the configuration of a node differs from this one’s', {
      peer,
      differences: told,
      advice,
    });
  }

  /** The last link to a node is gone. */
  forget(node: number): void {
    this.#peers.delete(node);
  }

  /** Policies have changed: tells every peer. */
  renew(sites: readonly SiteConfig[], links: Iterable<Link>): void {
    this.#own = viewOf(this.#host.config, this.#host.self, sites);
    for (const link of links) if (link.up) link.send(this.#own);
    for (const [node, { view }] of [...this.#peers]) this.heard(node, view);
  }

  /** Whether requests of a site may be handed to a node: it has told, and answers them as is expected here. */
  mayHand(node: number, site: string): boolean {
    const comparison = this.#peers.get(node)?.comparison;
    return comparison !== undefined && !comparison.isApart && !comparison.otherSites.has(site);
  }

  /** Whether connections may move to a node, whatever is asked on them. */
  mayMove(node: number): boolean {
    return this.#peers.get(node)?.comparison.mayMove === true;
  }

  /** Whether it is known at all that connections come to a node as they do here. */
  isTogether(node: number): boolean {
    return this.#peers.get(node)?.comparison.isApart === false;
  }

  /** How many nodes have told. */
  get size(): number {
    return this.#peers.size;
  }

  /** For each node whose file differs: its name, and what differs. */
  status(): Record<string, readonly string[]> {
    const { nodes } = this.#host.config;
    const differing = [...this.#peers].filter(([, { comparison }]) => comparison.differences.length > 0);
    return Object.fromEntries(
      differing.map(([node, { comparison }]) => [nodes[node].name, comparison.differences]),
    );
  }
}
