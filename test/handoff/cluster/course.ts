/** What is asked of a cluster in one process, and what befalls it meanwhile. */
import type { CloneConfig } from '../../../src/base/config/config.ts';
import type { Suite } from '../../../src/protocol/tls/suites.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import type { Cluster } from './cluster.ts';
import type { Asked } from './site.ts';

/** How often, of a million steps, something happens; or whether it does. Absent: it does not. */
export interface Troubles {
  /** A link is slow in one direction for some seconds: what is sent waits for longer than an anchor for an answer. */
  readonly slowsPerMillion?: number;
  /** A node's loop stands still, and goes on before the others give it up. */
  readonly stallsPerMillion?: number;
  /** A node is told to stop: it gives everything to the others, and ends. */
  readonly drainsPerMillion?: number;
  /** A client ends its connection by RST. */
  readonly leavesPerMillion?: number;
  /** Nodes that were killed, or have stopped, are started again; a node may be killed after another. */
  readonly restarts?: boolean;
  /** Nodes' clocks have zeros of their own, and none goes exactly right. */
  readonly skews?: boolean;
  /** A client's FIN comes right behind its last request. */
  readonly halfCloses?: boolean;
  /** Clients ask for several things at once. */
  readonly pipelines?: boolean;
  /** Many requests have bodies, short and long, some of which are answered before they are there. */
  readonly uploads?: boolean;
  /** Clients come one after the other. */
  readonly arrivals?: boolean;
}

export interface Course {
  readonly seed: number;
  readonly clients: number;
  readonly requestsOf: (random: Random, client: number) => Asked[];
  /** Nodes, and frames on links, may be held up for some hundred milliseconds. */
  readonly hasPauses: boolean;
  /** Connections move to other nodes. */
  readonly canMove: boolean;
  /** Options of mechanism clone; none. */
  readonly clone?: CloneConfig;
  /** The clients speak TLS. `rekeys`: listen.tlsRekey. */
  readonly tls?: { readonly suite: Suite; readonly rekeys: boolean };
  /** How often, of a million steps, a link is cut; a node, never the first, is killed at most once. */
  readonly cutsPerMillion: number;
  readonly killsPerMillion: number;
  /** How often a node is stopped, for longer than the others wait for it; none. */
  readonly stopsPerMillion?: number;
  /** timeouts.peerMs; PEER_MS. */
  readonly peerMs?: number;
  /** Indices of the nodes that clients connect to, in turn; the first. */
  readonly anchors?: readonly number[];
  /** What else befalls nodes and clients. */
  readonly troubles?: Troubles;
  /** Node b is killed as soon as that is so. */
  readonly killsWhen?: (cluster: Cluster) => boolean;
  /** What is done before anybody acts. */
  readonly prepare?: (cluster: Cluster) => void;
  /** What is undone when all are answered. */
  readonly release?: (cluster: Cluster) => void;
}
