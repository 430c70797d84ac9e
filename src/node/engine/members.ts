/** The other nodes, as far as this engine's connections and requests can be given to them. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Counters } from '../../base/counters.ts';
import type { Views } from '../../cluster/exchange-views.ts';
import type { Loads } from '../../cluster/loads.ts';
import { engineFor } from '../../handoff/flow/four-tuple.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Peers } from '../../protocol/backplane/peers.ts';
import type { Sites } from '../../serve/sites.ts';

export interface MembersPorts {
  readonly config: Pick<ClusterConfig, 'nodes'>;
  readonly self: number;
  readonly gauges: Pick<Counters, 'set'>;
  readonly peers: Pick<Peers, 'linkToEngine' | 'isUp' | 'up'>;
  readonly loads: Pick<Loads, 'of' | 'spread'>;
  readonly views: Pick<Views, 'mayHand' | 'mayMove' | 'isTogether' | 'status'>;
  readonly sites: Pick<Sites, 'renewCandidates'>;
}

export class Members {
  readonly #ports: MembersPorts;

  constructor(ports: MembersPorts) {
    this.#ports = ports;
  }

  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined {
    const { peers, config } = this.#ports;
    return peers.linkToEngine(node, engineFor(key, config.nodes[node].engines));
  }

  /** As `linkFor`, for a connection whose key is asked of the kernel only where it matters. */
  linkOf(node: number, connection: { readonly key: string | null }): Link | undefined {
    if (this.#ports.config.nodes[node].engines === 1) return this.#ports.peers.linkToEngine(node, 0);
    const { key } = connection;
    return key === null ? undefined : this.linkFor(node, key);
  }

  /** The nodes that can go on with this one's connections. */
  takers(): number[] {
    const { config, self, peers, loads, views } = this.#ports;
    const all = config.nodes.flatMap(({ role }, index) => {
      const takes = role === 'server' && peers.isUp(index) && loads.of(index).accepting;
      return takes && index !== self && views.isTogether(index) ? [index] : [];
    });
    // Where the files differ, as in a rolling change, the client comes to no other answer than by connecting anew.
    const alike = all.filter((node) => views.mayMove(node));
    return alike.length > 0 ? alike : all;
  }

  /** Links have come or gone, or a node accepts or no longer does, or policies have changed: others can answer now. */
  changed(): void {
    const { sites, peers, views, loads, gauges } = this.#ports;
    sites.renewCandidates(
      (node, site) => peers.isUp(node) && views.mayHand(node, site),
      (node) => loads.of(node),
    );
    gauges.set('views_differ_now', Object.keys(views.status()).length);
    gauges.set('links_up_now', peers.up);
    loads.spread();
  }
}
