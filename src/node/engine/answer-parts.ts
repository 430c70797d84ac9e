/** What an engine answers with, and what says which node answers: sites and policies. */
import type { Log } from '../../base/log.ts';
import type { PolicyFactories } from '../../cluster/policy/create.ts';
import type { Candidate } from '../../cluster/policy/policy.ts';
import { RepeatableChoices } from '../../cluster/policy/repeatable-choice.ts';
import { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { Sites, type SitesHost } from '../../serve/sites.ts';
import { DigestRequests } from './digest-requests.ts';
import type { FromEngine } from './messages.ts';

export interface AnswerOptions extends Omit<SitesHost, 'digests' | 'log'> {
  readonly log: Log;
  readonly factories: PolicyFactories;
  readonly post: (message: FromEngine) => void;
}

export class AnswerParts {
  readonly digests: DigestRequests;
  readonly sites: Sites;
  readonly policies: SitePolicies;
  readonly repeatableChoices: RepeatableChoices;

  constructor(options: AnswerOptions) {
    const { config, self, loop, post } = options;
    this.digests = new DigestRequests(config.limits.digestBytes, post);
    this.sites = new Sites({ ...options, digests: this.digests });
    const { sites } = this;
    const ports = {
      ...options,
      get nowMs() {
        return loop.nowMs;
      },
      listedBytes: (site: string, path: string) => sites.listedBytes(site, path),
      holders: (site: string, head: RequestHead, candidates: readonly Candidate[]) =>
        sites.holders(site, head, candidates),
    };
    this.policies = new SitePolicies(ports, options.factories);
    this.repeatableChoices = new RepeatableChoices({ config, self, sites, policies: this.policies });
  }

  close(): void {
    this.sites.close();
    this.policies.close();
  }
}
