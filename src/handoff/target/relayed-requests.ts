/** The requests that an engine answers for other nodes, which carry the response (mechanisms relay and boost). */
import type { Count } from '../../base/counters.ts';
import { Members } from '../../base/members.ts';
import { FrameType, RejectReason, type Setup, SetupMechanism } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Streams } from '../../protocol/backplane/streams.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Sites } from '../../serve/sites.ts';
import { type Answered, RelayedRequest, type RelayOwner, type Reporter } from './relayed-request.ts';

/** A request of a client that a booster has. */
export interface Boosted {
  /** Index of the booster. */
  readonly booster: number;
  /** Address; null: not known any more. */
  readonly client: Buffer | null;
  readonly head: RequestHead;
}

export interface RelayedRequestsPorts {
  readonly count: Count;
  readonly streams: Streams;
  readonly sites: Pick<Sites, 'serve' | 'parsed'>;
  /** limits.connections */
  readonly most: number;
  /** SETUP is refused. */
  isStopping(): boolean;
  /** A booster's request has been answered, or has ended otherwise. */
  boosted(asked: Boosted, answered: Answered): void;
}

export class RelayedRequests implements RelayOwner {
  readonly count: Count;
  readonly streams: Streams;
  readonly #ports: RelayedRequestsPorts;
  readonly #all = new Members<RelayedRequest>();

  constructor(ports: RelayedRequestsPorts) {
    this.#ports = ports;
    this.count = ports.count;
    this.streams = ports.streams;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Takes a SETUP of relay or boost, which opens a conversation. */
  setup(link: Link, setup: Setup): void {
    this.count.add('setups_received');
    const { request, epoch } = setup;
    const exchange = this.#serve(setup);
    if (typeof exchange === 'number') {
      this.count.add('setups_rejected');
      link.send({ type: FrameType.SETUP_REJECT, request, epoch, reason: exchange });
      return;
    }
    const bodyBytes = this.#bodyBytes(setup);
    const relayed = new RelayedRequest(this, link, request, exchange, bodyBytes, this.#reporter(link, setup));
    this.#all.add(relayed);
    link.takeConversation(request, relayed);
    relayed.drive();
    if (!relayed.owesAnswer) return;
    link.send({
      type: FrameType.SETUP_OK,
      request,
      epoch,
      confirmWanted: false,
      identity: null,
      announcement: null,
    });
  }

  #serve(setup: Setup): Exchange | RejectReason {
    const { isStopping, most, sites } = this.#ports;
    if (isStopping()) return RejectReason.SHUTTING_DOWN;
    if (this.#all.size >= most) return RejectReason.FULL;
    const client = { clientAddress: setup.client, isSecure: setup.secure };
    if (setup.mechanism !== SetupMechanism.BOOST) return sites.serve(setup, 'relay', client);
    // The origin decides which site it is.
    const { head, body, bodyFollows, close, continuation } = setup;
    return sites.serve({ head, body, bodyFollows, close, continuation }, 'boost', client);
  }

  /** Whom to tell how it was answered: what a booster asks for is a request of this node's own clients. */
  #reporter({ node }: Link, { mechanism, head, client }: Setup): Reporter | null {
    if (mechanism !== SetupMechanism.BOOST) return null;
    const asked = { booster: node, client, head: this.#ports.sites.parsed(head) };
    return (answered) => this.#ports.boosted(asked, answered);
  }

  /** Bytes of a request body that follow; infinite where its head does not say how many. */
  #bodyBytes({ bodyFollows, head }: Setup): number {
    if (!bodyFollows) return 0;
    const { contentLength } = this.#ports.sites.parsed(head);
    return contentLength < 0 ? Number.POSITIVE_INFINITY : contentLength;
  }

  over(relayed: RelayedRequest): void {
    this.#all.delete(relayed);
  }
}
