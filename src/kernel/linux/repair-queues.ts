/** What a socket in repair holds: its two queues, and where in the connection they end. */
import { MAX_QUEUE_BYTES, StateError } from '../tcp/state.ts';
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { addressOf } from './memory.ts';
import { queueSequence, RECEIVE_QUEUE, SEND_QUEUE, selectQueue } from './repair-options.ts';
import * as sockets from './socket.ts';

export interface Queues {
  /** Of the send queue's end; a FIN that was sent is in it. */
  readonly writeSequence: number;
  /** Of the next byte that the client sends; its FIN, if it came, is in it. */
  readonly nextExpected: number;
  /** Sent and not acknowledged. */
  readonly sent: Buffer;
  readonly unsent: Buffer;
  /** Acknowledged and not read. */
  readonly received: Buffer;
}

const NOTHING = Buffer.alloc(0);

/** Copies the selected queue, `bytes` of it. */
function peekQueue(fd: number, bytes: number): Buffer {
  if (bytes > MAX_QUEUE_BYTES) throw new StateError('STATE_QUEUE', `a queue of ${bytes} bytes`);
  if (bytes === 0) return NOTHING;
  const out = Buffer.alloc(bytes);
  const got = check(
    'recv',
    libc.recv(fd, addressOf(out), bytes, sockets.MSG_PEEK | sockets.MSG_DONTWAIT),
    'queue in repair',
  );
  if (got !== bytes) throw new StateError('STATE_MOVING', `a queue of ${bytes} bytes gave ${got}`);
  return out;
}

/** Bytes that were never sent, of those that are not acknowledged; where there are none nobody need ask. */
function unsentOf(fd: number, outstanding: number): number {
  return outstanding === 0 ? 0 : sockets.unsentBytes(fd);
}

/**
 * Reads both queues; null when the connection moved on meanwhile. `finPending`: our FIN is sent and not acknowledged.
 * With `freeze` the send queue stays selected, so that the kernel sends nothing new (a paced sender would): what is
 * unsent stays unsent.
 */
export function readQueues(fd: number, finPending: boolean, freeze: boolean): Queues | null {
  selectQueue(fd, SEND_QUEUE);
  const writeSequence = queueSequence(fd);
  const outstanding = sockets.sendQueueBytes(fd);
  const unsent = unsentOf(fd, outstanding);
  // The kernel counts a FIN as a byte of the queue.
  const sendBytes = outstanding - (finPending ? 1 : 0);
  const written = peekQueue(fd, sendBytes);
  selectQueue(fd, RECEIVE_QUEUE);
  const nextExpected = queueSequence(fd);
  const received = peekQueue(fd, sockets.receiveQueueBytes(fd));
  // A FIN of either side, or its acknowledgement, changes one of these too.
  const heldStill = queueSequence(fd) === nextExpected;
  if (freeze) selectQueue(fd, SEND_QUEUE);
  if (!heldStill || sockets.sendQueueBytes(fd) !== outstanding || unsentOf(fd, outstanding) !== unsent)
    return null;
  // An unsent FIN is counted in neither queue's bytes but may be in SIOCOUTQNSD.
  const sentBytes = sendBytes - Math.min(unsent, sendBytes);
  return {
    writeSequence,
    nextExpected,
    sent: written.subarray(0, sentBytes),
    unsent: written.subarray(sentBytes),
    received,
  };
}
