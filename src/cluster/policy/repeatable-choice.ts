/**
 * Clone's option `keep`: which node the next request of a connection is for, as every node that goes by the same
 * things finds. The anchor names those things by a digest (SETUP, keep); a clone whose own digest is another one
 * takes nothing.
 */

import type { ClusterConfig, PolicyConfig, SiteConfig } from '../../base/config/config.ts';
import { TEXT_SEED, textHash } from '../../base/text-hash.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

/** A site as far as the choice goes. */
export interface ChoiceSite {
  readonly config: SiteConfig;
  /** The nodes that can answer for it at this moment; another array when they change. */
  readonly candidates: readonly Candidate[];
}

/** What is asked of the engine. */
export interface RepeatableChoiceHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly sites: { find(host: string): ChoiceSite | null };
  readonly policies: { of(site: SiteConfig): Policy; configOf(site: SiteConfig): PolicyConfig };
}

/** How the next requests of a site are distributed, at one moment: neither nodes nor policy change in it. */
export interface RepeatableChoice {
  readonly digest: number;
  /** Index of the node that a request is for; -1: it is none that a clone may take. */
  nodeFor(head: RequestHead): number;
}

/** Whether a clone may answer it without being asked: nothing of it but its head has to be known. */
function isSimple(head: RequestHead): boolean {
  const { method, minor, keepAlive, contentLength, chunked, expectContinue } = head;
  const isRead = method === 'GET' || method === 'HEAD';
  return isRead && minor === 1 && keepAlive && contentLength <= 0 && !chunked && !expectContinue;
}

export class RepeatableChoices {
  readonly #host: RepeatableChoiceHost;
  /** The newest of each site, with what it was made from. */
  readonly #choices = new Map<
    ChoiceSite,
    { candidates: readonly Candidate[]; policy: Policy; choice: RepeatableChoice }
  >();

  constructor(host: RepeatableChoiceHost) {
    this.#host = host;
  }

  /** Null: the site keeps no clones, or nobody can answer. */
  of(site: ChoiceSite): RepeatableChoice | null {
    const { candidates, config } = site;
    if (config.mechanism !== 'clone' || !config.clone.keep || candidates.length === 0) return null;
    const policy = this.#host.policies.of(config);
    const known = this.#choices.get(site);
    if (known !== undefined && known.candidates === candidates && known.policy === policy)
      return known.choice;
    const choice = this.#make(site, candidates, policy);
    this.#choices.set(site, { candidates, policy, choice });
    return choice;
  }

  #make(site: ChoiceSite, candidates: readonly Candidate[], policy: Policy): RepeatableChoice {
    const { sites, self } = this.#host;
    const nodeFor = (head: RequestHead): number => {
      if (!isSimple(head) || sites.find(head.host) !== site) return -1;
      const choice = policy.choose(head, candidates, self);
      if (typeof choice === 'number') return choice;
      return choice.mechanism === 'clone' ? choice.node : -1;
    };
    return { digest: this.#digest(site, candidates), nodeFor };
  }

  /** Everything that the choice, and what counts as one head, depends on. */
  #digest(site: ChoiceSite, candidates: readonly Candidate[]): number {
    const { config, policies } = this.#host;
    const { headBytes, headFields } = config.limits;
    const hosts = config.sites.map(({ name, hosts }) => [name, hosts]);
    const names = candidates.map(({ name }) => name);
    const by = [site.config.name, policies.configOf(site.config), names, hosts, headBytes, headFields];
    return textHash(JSON.stringify(by), TEXT_SEED);
  }
}
