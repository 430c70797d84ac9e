/**
 * How a connection ends from here: nothing is sent any more, and what the client still sends is thrown away for a while
 * before the socket is closed; a reset caused by unread bytes could overtake what was sent last.
 *
 *   saying --what waits is out--> lingering (FIN) --the client's end, DRAIN_MS of silence, LINGER_MS--> closed
 *      `--the client takes nothing for limits.stallSeconds--> reset
 */
import * as libc from '../kernel/linux/libc.ts';
import { SHUT_WR } from '../kernel/linux/socket.ts';
import type { Clock } from '../kernel/loop/ports.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';
import type { OwnOutput } from './own-output.ts';

/** A client that sends all of its body first is given that much time for it. */
const LINGER_MS = 30_000;

export class Ending {
  readonly #connection: Connection;
  readonly #output: OwnOutput;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #connections: Pick<Connections, 'stallDeadlines' | 'drainDeadlines'>;
  /** When the socket is closed at the latest; 0 while something waits to be said. */
  #endMs = 0;
  #clientEnded = false;

  constructor(
    connection: Connection,
    output: OwnOutput,
    clock: Pick<Clock, 'nowMs'>,
    connections: Pick<Connections, 'stallDeadlines' | 'drainDeadlines'>,
  ) {
    this.#connection = connection;
    this.#output = output;
    this.#clock = clock;
    this.#connections = connections;
    this.said();
  }

  /** Some of what waited is out, or nothing has waited. */
  said(): void {
    if (this.#endMs > 0) return;
    if (this.#output.waits) return this.#connections.stallDeadlines.set(this.#connection, this.#clock.nowMs);
    this.#connections.stallDeadlines.clear(this.#connection);
    if (this.#clientEnded) return this.#connection.close();
    this.#endMs = this.#clock.nowMs + LINGER_MS;
    this.drained();
    libc.shutdown(this.#connection.fd, SHUT_WR);
  }

  /** More of what nobody reads has come. */
  drained(): void {
    const { nowMs } = this.#clock;
    if (nowMs < this.#endMs) this.#connections.drainDeadlines.set(this.#connection, nowMs);
  }

  /** The client has closed its half: it still gets what waits. */
  clientEnded(): void {
    this.#clientEnded = true;
    if (!this.#output.waits) this.#connection.close();
  }
}
