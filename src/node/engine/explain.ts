/** Which node a request would go to, and how: what `baton explain` tells. The policy is asked as for a request. */
import type { ClusterConfig, MechanismSetting } from '../../base/config/config.ts';
import type { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { ExplainedAuto } from '../../handoff/mechanism/auto.ts';
import type { Dispatcher } from '../../handoff/mechanism/dispatcher.ts';
import { HeadError } from '../../protocol/http/request.ts';
import type { Sites } from '../../serve/sites.ts';

export interface Explanation {
  /** Null: no site has the host. */
  readonly site: string | null;
  /** Name or file of the policy; null without site. */
  readonly policy: string | null;
  /** The node that would answer. */
  readonly node: string;
  /** What was asked for by the site, or by the policy. */
  readonly mechanism: MechanismSetting;
  /** Mechanism auto's estimates; null where nothing is left to choose. */
  readonly auto: ExplainedAuto | null;
}

export interface ExplainPorts {
  readonly config: Pick<ClusterConfig, 'nodes'>;
  readonly self: number;
  readonly sites: Pick<Sites, 'heads' | 'find'>;
  readonly dispatcher: Pick<Dispatcher, 'choose' | 'auto'>;
  readonly policies: Pick<SitePolicies, 'status'>;
}

/** `target`: path and query. A text: why the request would be refused. */
export function explain(ports: ExplainPorts, host: string, target: string): Explanation | string {
  const { sites, dispatcher, policies, config, self } = ports;
  const text = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 'latin1');
  const head = sites.heads.parse(text, 0, text.length);
  if (head === null) return 'the request has no end';
  if (head instanceof HeadError) return head.reason;
  const site = sites.find(head.host);
  const { node, mechanism } = dispatcher.choose(head, site, false);
  const isAuto = site !== null && node !== self && mechanism === 'auto';
  return {
    site: site?.config.name ?? null,
    policy: site === null ? null : policies.status()[site.config.name],
    node: config.nodes[node].name,
    mechanism: node === self ? 'local' : mechanism,
    auto: isAuto ? dispatcher.auto.explain(site, head, node) : null,
  };
}
