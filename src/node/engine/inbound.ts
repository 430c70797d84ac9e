/** Who gets the frames that open a conversation, even one that there is, and those that are of none. */
import type { Catalogues } from '../../cluster/exchange-catalogues.ts';
import type { Memories } from '../../cluster/exchange-memories.ts';
import type { Views } from '../../cluster/exchange-views.ts';
import type { Loads } from '../../cluster/loads.ts';
import type { Forwards } from '../../handoff/move/forwards.ts';
import type { Guests } from '../../handoff/move/guests.ts';
import type { HomeRoutes } from '../../handoff/move/home-routes.ts';
import type { Moves } from '../../handoff/move/moves.ts';
import type { HalfPipes } from '../../handoff/target/half-pipes.ts';
import type { RelayedRequests } from '../../handoff/target/relayed-requests.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  isCarried,
  type Setup,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';

export interface InboundPorts {
  readonly relayed: Pick<RelayedRequests, 'setup'>;
  readonly halfPipes: Pick<HalfPipes, 'of' | 'setup'>;
  readonly moves: Pick<Moves, 'take' | 'told'>;
  readonly homeRoutes: Pick<HomeRoutes, 'route' | 'cleanup'>;
  readonly guests: Pick<Guests, 'cleanedUp'>;
  readonly forwards: Pick<Forwards, 'ended'>;
  readonly catalogues: Pick<Catalogues, 'take'>;
  readonly memories: Pick<Memories, 'take'>;
  readonly views: Pick<Views, 'heard'>;
  readonly loads: Pick<Loads, 'heard'>;
  /** Others can answer now. */
  membersChanged(): void;
}

export function takeInbound(ports: InboundPorts, link: Link, frame: Frame): void {
  switch (frame.type) {
    case FrameType.SETUP:
      return takeSetup(ports, link, frame);
    case FrameType.RESET:
      // We have let go of it already; the anchor waits for the word.
      if (!frame.onlyEpoch) link.send({ type: FrameType.RESET_OK, request: frame.request });
      return;
    case FrameType.SETUP_OK: {
      // A target asks whether it may begin, or go on; its conversation is over, so whoever was to send has sent.
      const { request, epoch } = frame;
      const reason = AbortReason.SUPERSEDED;
      if (frame.confirmWanted) link.send({ type: FrameType.ABORT, request, epoch, reason });
      return;
    }
    case FrameType.MIGRATE:
      if (link.conversationOf(frame.request) !== null) return link.protocolError('MIGRATE in a conversation');
      return ports.moves.take(link, frame);
    case FrameType.ROUTE:
      ports.moves.told(frame);
      return ports.homeRoutes.route(link, frame);
    case FrameType.CLEANUP:
      ports.moves.told(frame);
      ports.forwards.ended(frame);
      return ports.homeRoutes.cleanup(link, frame);
    case FrameType.CLEANUP_OK:
      return ports.guests.cleanedUp(link.node, frame);
    case FrameType.CATALOGUE:
      return ports.catalogues.take(link.node, frame);
    case FrameType.CACHED:
      return ports.memories.take(link, frame);
    case FrameType.VIEW:
      if (ports.views.heard(link.node, frame)) ports.membersChanged();
      return;
    case FrameType.LOAD:
      if (ports.loads.heard(link, frame)) ports.membersChanged();
      return;
    default:
      return;
  }
}

/** A number that is taken already may be a half-pipe's, which gets its next request; nothing else is set up twice. */
function takeSetup({ relayed, halfPipes }: InboundPorts, link: Link, frame: Setup): void {
  const isNew = link.conversationOf(frame.request) === null;
  const relays = isCarried(frame.mechanism);
  if (isNew && relays) return relayed.setup(link, frame);
  const known = halfPipes.of(link, frame.request);
  if (!relays && (isNew || known !== null)) return halfPipes.setup(link, known, frame);
  return link.protocolError('SETUP in a conversation of another kind');
}
