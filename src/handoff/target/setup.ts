/**
 * SETUP of anchor, clone and split, at the node that is asked: whether it serves the request. It is answered in every
 * case, here when it is refused, else by the half-pipe that there is of the flow or a new one.
 */

import { monotonicMs } from '../../kernel/linux/monotonic.ts';
import type { Engine } from '../../node/engine/engine.ts';
import {
  FrameType,
  type HalfPipe as HalfPipeBlock,
  RejectReason,
  type Setup,
  SetupMechanism,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Ends } from '../flow/ends.ts';
import { isStale } from '../flow/lease.ts';
import { HalfPipe } from './target.ts';

const MECHANISM_NAMES = {
  [SetupMechanism.RELAY]: 'relay',
  [SetupMechanism.ANCHOR]: 'anchor',
  [SetupMechanism.CLONE]: 'clone',
  [SetupMechanism.SPLIT]: 'split',
} as const;

/** Takes a SETUP. `known`: the half-pipe of this conversation, which may have ended. */
export function takeSetup(engine: Engine, link: Link, known: HalfPipe | null, setup: Setup): void {
  // It has been answered already.
  if (known?.hasTaken(setup.epoch)) return;
  if (known?.isOf(endsOfBlock(setup.halfPipe!)) === false)
    return link.protocolError('SETUP of another connection in its conversation');
  known?.forgetNext();
  engine.counters.add('setups_received');
  const refusal = serve(engine, link, known === null || known.isClosed ? null : known, setup);
  if (refusal === null) return;
  engine.counters.add('setups_rejected');
  link.send({ type: FrameType.SETUP_REJECT, request: setup.request, epoch: setup.epoch, reason: refusal });
}

/** Null: the half-pipe has answered. */
function serve(engine: Engine, link: Link, known: HalfPipe | null, setup: Setup): RejectReason | null {
  const receivedMs = monotonicMs();
  const lateMs = link.clock.excessMs(setup.sentAtMs, receivedMs);
  if (isStale(lateMs)) return RejectReason.STALE;
  if (engine.stopping) return RejectReason.SHUTTING_DOWN;
  const block = setup.halfPipe!;
  if (!engine.canServe(endsOfBlock(block))) return RejectReason.STATE_INVALID;
  const pipe = known ?? create(engine, link, setup.request, block);
  if (pipe === null) return RejectReason.FULL;
  const exchange = engine.sites.serve(setup, MECHANISM_NAMES[setup.mechanism], block);
  const refusal =
    typeof exchange === 'number' ? exchange : pipe.begin(setup, block, exchange, receivedMs - lateMs);
  if (refusal === null) return null;
  if (typeof exchange !== 'number') exchange.end();
  if (known === null) pipe.discard();
  return refusal;
}

function endsOfBlock({ clientAddress, clientPort, publicAddress, publicPort }: HalfPipeBlock): Ends {
  return {
    client: { address: clientAddress, port: clientPort },
    public: { address: publicAddress, port: publicPort },
  };
}

function create(engine: Engine, link: Link, id: number, block: HalfPipeBlock): HalfPipe | null {
  const hasRoom = engine.halfPipes.size < engine.config.limits.flows;
  return hasRoom ? HalfPipe.create(engine, link, id, block) : null;
}
