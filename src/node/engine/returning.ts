/**
 * A booster's clients go back to their origins, between two requests, when these take them again: as connections that
 * migrate, to the node that owns their address. So many at a time that the moves are no load of their own there.
 */
import type { BoostedClients } from '../../client/boosted-clients.ts';
import type { Connection } from '../../client/connection.ts';
import type { Loads } from '../../cluster/loads.ts';
import type { Moves } from '../../handoff/move/moves.ts';

/** Connections that an engine sends back in one round: at some 0.15 ms for each, a tenth of the origin's processor. */
export const RETURNS_A_ROUND = 64;

export class Returning {
  readonly #boosted: Pick<BoostedClients, 'counts' | 'originOf'>;
  readonly #connections: { readonly all: ReadonlyArray<Pick<Connection, 'fd' | 'state' | 'leaveFor'>> };
  readonly #loads: Pick<Loads, 'takesBack'>;
  readonly #moves: Pick<Moves, 'hasRoomToLeave'>;

  constructor(
    boosted: Pick<BoostedClients, 'counts' | 'originOf'>,
    connections: { readonly all: ReadonlyArray<Pick<Connection, 'fd' | 'state' | 'leaveFor'>> },
    loads: Pick<Loads, 'takesBack'>,
    moves: Pick<Moves, 'hasRoomToLeave'>,
  ) {
    this.#boosted = boosted;
    this.#connections = connections;
    this.#loads = loads;
    this.#moves = moves;
  }

  /** Called ten times a second. */
  round(): void {
    const origins = [...this.#boosted.counts.keys()].filter((origin) => this.#loads.takesBack(origin));
    if (origins.length === 0) return;
    let left = RETURNS_A_ROUND;
    for (const connection of this.#connections.all) {
      if (left === 0 || !this.#moves.hasRoomToLeave) return;
      const origin = this.#boosted.originOf(connection.fd);
      if (connection.state !== 'head' || !origins.includes(origin)) continue;
      connection.leaveFor(origin, false);
      if (connection.state !== 'head') left--;
    }
  }
}
