/** What an engine lends to its clients' connections. */
import type { ClientPorts } from '../../client/ports.ts';
import { OutgoingMove } from '../../handoff/move/outgoing-move.ts';
import { CLIENT_SOCKETS } from './client-sockets.ts';
import type { Engine } from './engine.ts';

export function clientPorts(engine: Engine): ClientPorts {
  const { loop, counters, config, sites, dispatcher, anchorFlows, handoffs, guests, access, boosted } =
    engine;
  return {
    clock: loop,
    watch: loop,
    count: counters,
    config,
    sockets: CLIENT_SOCKETS,
    sites,
    dispatcher,
    flows: anchorFlows,
    handoffs,
    guests,
    access,
    boosted,
    log: (level, message, fields) => engine.log(level, message, fields),
    startMove: (connection, to) => OutgoingMove.start(engine, connection, to),
    isClosing: () => engine.closing,
  };
}
