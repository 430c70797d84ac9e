/** What connections do to their clients' sockets. An interface, so that a test needs no socket. */

import type { FourTuple } from '../handoff/flow/four-tuple.ts';
import type { Memory } from '../kernel/linux/memory.ts';
import type { Behind, ByteSink } from '../serve/byte-sink.ts';

/** Nothing is there now. */
export const EMPTY = -1;
/** The socket has failed. */
export const FAILED = -2;

export interface ClientSockets {
  /** Reads once into the buffer. Returns how many bytes have come, 0 at the client's end, EMPTY or FAILED. */
  receive(fd: number, buffer: Memory): number;
  /** Bytes that have come and were not read. */
  unreadBytes(fd: number): number;
  /** Bytes that were sent and that the client has not taken; 0 when the connection has died. */
  queuedBytes(fd: number): number;
  /** What takes bytes for the client. `behind`: what follows the end of each response, or piece, that it takes. */
  out(fd: number, behind: Behind): ByteSink;
  /** Null: the client has just reset the connection. */
  ends(fd: number): FourTuple | null;
  /** Sends FIN: the connection says nothing any more. */
  shut(fd: number): void;
  /** What was sent still arrives, unless something was not read. */
  close(fd: number): void;
  /** Closes the socket, too; the end of a response that was sent with `behind` "end" has waited for this FIN. */
  finish(fd: number): void;
  /** The client gets RST. */
  abort(fd: number): void;
  /** How long the client may acknowledge nothing. */
  limitSilence(fd: number, limitMs: number): void;
  /** Answers a client that was never heard, and closes. The buffer is overwritten. */
  turnAway(fd: number, answer: Buffer, buffer: Memory): void;
}
