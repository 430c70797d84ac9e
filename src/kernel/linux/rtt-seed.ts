/** The RTT of a path, given to a socket in repair: the kernel lets it be measured only. Needs CAP_NET_RAW. */

import type { Endpoint } from '../../base/address.ts';
import { add } from '../tcp/sequence.ts';
import type { ConnectionOptions } from '../tcp/state.ts';
import { check, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { SEGMENT_ACK, sendSegment } from './raw.ts';
import { sendQueueBytes } from './socket.ts';

const dummyByte = allocate(1);

/** The window field for `bytes`: rounded down, so never more than the client allows. */
function windowField(bytes: number, sendScale: number): number {
  return Math.min(Math.floor(bytes / 2 ** Math.max(sendScale, 0)), 65_535);
}

/** What the RTT is given with. */
export interface RttSeed {
  readonly client: Endpoint;
  readonly public: Endpoint;
  readonly options: ConnectionOptions;
  /** The sequence number of the first byte in the send queue, sent or not. */
  readonly sequence: number;
  /** The next byte expected from the client. */
  readonly acknowledge: number;
  /** What the client allows after `sequence`, in bytes. */
  readonly sendWindow: number;
  /** The client's last TSval, to echo; 0 when unknown. */
  readonly tsecr?: number;
  /** The smoothed RTT to start from; 0 when unknown: the first timeout is then 3 s. */
  readonly srttUs: number;
}

/**
 * True when the RTT can be given: it goes by the timestamps option, and the segment that carries it also carries a
 * send window, which must not round down to nothing.
 */
export function canSeedRtt(seed: RttSeed): boolean {
  return (
    seed.srttUs > 0 && seed.options.timestamps && windowField(seed.sendWindow, seed.options.sendScale) > 0
  );
}

/**
 * Gives a socket in repair its RTT: a byte before `sequence` lies in its send queue as if sent, and an ACK for it,
 * as if from the client, echoes a TSval that is one RTT old (RFC 7323 section 4.3). Throws when the byte is still
 * there: it must never be sent.
 */
export function seedRtt(fd: number, seed: RttSeed, clock: number): void {
  check('send', libc.send(fd, dummyByte.address, 1, 0));
  const rttMs = Math.max(Math.round(seed.srttUs / 1000), 1);
  sendSegment({
    from: seed.client,
    to: seed.public,
    sequence: seed.acknowledge,
    acknowledge: seed.sequence,
    flags: SEGMENT_ACK,
    window: windowField(seed.sendWindow, seed.options.sendScale),
    timestamps: true,
    tsval: seed.tsecr ?? 0,
    tsecr: add(clock, -rttMs),
  });
  if (sendQueueBytes(fd) !== 0) throw new SystemError('sendto', 0, 'the RTT segment did not arrive');
}
