/** The policies of an engine's sites: made at its start, replaced at a reload, watched over when they are modules. */
import type { ClusterConfig, PolicyConfig, SiteConfig } from '../../base/config/config.ts';
import { FileSizes } from '../../protocol/http/file-sizes.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { createPolicy, goesByMemory, type PolicyFactories } from './create.ts';
import type { Candidate, Policy } from './policy.ts';

/** Different failures of policies that are logged. */
const MAX_LOGGED_FAULTS = 20;

/** What is asked of the engine. */
export interface PolicyHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly nowMs: number;
  readonly counters: { add(name: 'policy_failures' | 'requests_cached' | 'requests_not_cached'): void };
  /** Bytes of what a request is for, as another node's catalogue has it; null when none does. */
  listedBytes(site: string, path: string): number | null;
  /** The candidates that are known to have the requested document in memory. */
  holders(site: string, head: RequestHead, candidates: readonly Candidate[]): readonly Candidate[];
  log(level: 'error', message: string, fields: Record<string, unknown>): void;
}

export class SitePolicies {
  readonly #host: PolicyHost;
  /** Policies by site name. */
  #policies: ReadonlyMap<string, { readonly policy: Policy; readonly config: SiteConfig }> = new Map();
  /** Files' sizes by root directory; a directory is added when a policy first asks. */
  readonly #sizes = new Map<string, FileSizes>();
  readonly #faults = new Set<string>();

  /** Throws PolicyError. */
  constructor(host: PolicyHost, factories: PolicyFactories) {
    this.#host = host;
    this.use(host.config.sites, factories);
  }

  of(site: SiteConfig): Policy {
    return this.#policies.get(site.name)!.policy;
  }

  /** What the policy in force was made from. */
  configOf(site: SiteConfig): PolicyConfig {
    return this.#policies.get(site.name)!.config.policy;
  }

  /** Whether the policy in force goes by what is in memory. */
  asksMemory(site: string): boolean {
    return goesByMemory(this.#policies.get(site)!.config.policy);
  }

  /** Takes the policies of `sites`, which are otherwise the configured ones. Throws PolicyError: then the old stay. */
  use(sites: readonly SiteConfig[], factories: PolicyFactories): void {
    this.#policies = new Map(
      sites.map((config) => [config.name, { policy: this.#make(config, factories), config }]),
    );
    this.#faults.clear();
  }

  #make(config: SiteConfig, factories: PolicyFactories): Policy {
    const context = { site: config.name, sizeOf: (head: RequestHead) => this.sizeOf(config, head) };
    const memory = {
      holders: (head: RequestHead, candidates: readonly Candidate[]) =>
        this.#host.holders(config.name, head, candidates),
      chosen: (held: boolean) => this.#host.counters.add(held ? 'requests_cached' : 'requests_not_cached'),
    };
    return createPolicy(config, factories, context, memory, (reason) => this.#failed(config.name, reason));
  }

  /** Bytes of the file that a request is for: this node's, else one that another node has told about; null: none. */
  sizeOf(config: SiteConfig, head: RequestHead): number | null {
    return this.#ownSize(config, head) ?? this.#host.listedBytes(config.name, head.path);
  }

  #ownSize(config: SiteConfig, head: RequestHead): number | null {
    const { nodes } = this.#host.config;
    const source = config.content[nodes[this.#host.self].name];
    if (source?.kind !== 'root') return null;
    let sizes = this.#sizes.get(source.root);
    if (sizes === undefined) {
      sizes = new FileSizes(source.root);
      this.#sizes.set(source.root, sizes);
    }
    return sizes.sizeOf(head.path, this.#host.nowMs);
  }

  /** Counted every time, logged the first time. */
  #failed(site: string, reason: string): void {
    this.#host.counters.add('policy_failures');
    if (this.#faults.has(reason) || this.#faults.size >= MAX_LOGGED_FAULTS) return;
    this.#faults.add(reason);
    this.#host.log('error', 'policy failed; such requests are served by policy local', { site, reason });
  }

  /** For each site, its policy's name, or the file of its module. */
  status(): Record<string, string> {
    const nameOf = ({ policy }: SiteConfig) => {
      if (typeof policy === 'string') return policy;
      return policy.kind === 'module' ? policy.file : policy.kind;
    };
    return Object.fromEntries(
      [...this.#policies.values()].map(({ config }) => [config.name, nameOf(config)]),
    );
  }

  close(): void {
    for (const sizes of this.#sizes.values()) sizes.close();
  }
}
