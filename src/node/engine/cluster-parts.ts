/** The other nodes, as an engine knows them: links, what they answer with, how busy they are, and who can take over. */
import type { BoostedClients } from '../../client/boosted-clients.ts';
import type { Addresses } from '../../cluster/addresses.ts';
import { Views } from '../../cluster/exchange-views.ts';
import { type LoadHost, Loads } from '../../cluster/loads.ts';
import { Peers } from '../../protocol/backplane/peers.ts';
import type { Sites } from '../../serve/sites.ts';
import type { Basics, EngineOptions } from './basics.ts';
import { boostedClients } from './boosted.ts';
import type { HandoffParts } from './handoff-parts.ts';
import { takeInbound } from './inbound.ts';
import type { KernelParts } from './kernel-parts.ts';
import { Links, type LinksPorts } from './links.ts';
import { Members } from './members.ts';

export interface ClusterPartsPorts
  extends Basics,
    Pick<EngineOptions, 'mac' | 'clusterKey'>,
    Pick<LoadHost, 'listeners' | 'isStopping' | 'connections' | 'firstByteMs'> {
  /** The counters of every engine of the node. */
  readonly shared: EngineOptions['counters'];
  readonly addresses: Addresses;
  readonly sites: Sites;
  readonly kernel: KernelParts;
  readonly handoff: HandoffParts;
}

export class ClusterParts {
  readonly views: Views;
  readonly peers: Peers;
  /** At a booster: the clients that it has. Else null. */
  readonly boosted: BoostedClients | null;
  readonly loads: Loads;
  readonly members: Members;

  constructor(ports: ClusterPartsPorts) {
    const { config, self, index, loop, counters, addresses, sites, kernel, handoff } = ports;
    this.views = new Views(ports);
    this.peers = new Peers(config, self, index, new Links(ports, () => linked));
    this.boosted = boostedClients(ports, addresses, () => this.loads.report());
    const { views, peers, boosted } = this;
    const host = {
      ...ports,
      get nowMs() {
        return loop.nowMs;
      },
      cpuMs: () => loop.cpuMs,
      isFullFor: (node: number) => boosted?.isFull(node) ?? false,
    };
    this.loads = new Loads(host, peers, kernel.router.spread, ports.shared);
    const { loads } = this;
    this.members = new Members({ config, self, gauges: counters, peers, loads, views, sites });

    const known = {
      ...handoff,
      catalogues: sites.catalogues,
      memories: sites.memories,
      views,
      peers,
      loads,
      membersChanged: () => this.members.changed(),
    };
    /** What follows when links come and go, and who takes their frames. */
    const linked: LinksPorts = {
      ...known,
      setPeer: (owner, mac) => kernel.router.setPeer(owner, mac),
      take: (link, frame) => takeInbound(known, link, frame),
    };
  }
}
