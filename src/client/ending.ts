/**
 * How a connection ends from here: nothing is sent any more, and what the client still sends is thrown away for a while
 * before the socket is closed; a reset caused by unread bytes could overtake what was sent last.
 *
 *   saying --what waits is out--> lingering (FIN) --the client's end, DRAIN_MS of silence, LINGER_MS--> closed
 *      `--the client takes nothing for limits.stallSeconds--> reset
 */
import type { Clock } from '../kernel/loop/ports.ts';
import type { Channel } from './channel.ts';
import type { ClientTime } from './connection-deadlines.ts';
import type { OwnOutput } from './own-output.ts';

/** A client that sends all of its body first is given that much time for it. */
const LINGER_MS = 30_000;

/** The connection that ends. */
export interface EndingConnection {
  close(): void;
}

export class Ending {
  readonly #connection: EndingConnection;
  readonly #channel: Pick<Channel, 'shut'>;
  readonly #output: OwnOutput;
  readonly #time: Pick<ClientTime, 'start' | 'clear'>;
  readonly #clock: Pick<Clock, 'nowMs'>;
  /** When the socket is closed at the latest; 0 while something waits to be said. */
  #endMs = 0;
  #clientEnded = false;

  constructor(
    connection: EndingConnection,
    channel: Pick<Channel, 'shut'>,
    output: OwnOutput,
    time: Pick<ClientTime, 'start' | 'clear'>,
    clock: Pick<Clock, 'nowMs'>,
  ) {
    this.#connection = connection;
    this.#channel = channel;
    this.#output = output;
    this.#time = time;
    this.#clock = clock;
  }

  /** Called first, and when some of what waited is out. */
  said(): void {
    if (this.#endMs > 0) return;
    if (this.#output.waits) return this.#time.start('stall');
    this.#time.clear('stall');
    if (this.#clientEnded) return this.#connection.close();
    this.#endMs = this.#clock.nowMs + LINGER_MS;
    this.drained();
    this.#channel.shut();
  }

  /** More of what nobody reads has come. */
  drained(): void {
    if (this.#clock.nowMs < this.#endMs) this.#time.start('drain');
  }

  /** The client has closed its half: it still gets what waits. */
  clientEnded(): void {
    this.#clientEnded = true;
    if (!this.#output.waits) this.#connection.close();
  }
}
