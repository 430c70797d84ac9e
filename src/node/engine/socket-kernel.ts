/** What a flow does to its connection's socket, by the real kernel. */
import type { SocketKernel } from '../../handoff/anchor/own-socket.ts';
import { tupleOf } from '../../handoff/flow/four-tuple.ts';
import type { ParkedSegments } from '../../handoff/move/parked.ts';
import { refreshSendWindow } from '../../kernel/linux/half-pipe.ts';
import { captureHalfPipe, type HalfPipeCapture } from '../../kernel/linux/half-pipe-capture.ts';
import { sendReset } from '../../kernel/linux/raw.ts';
import { probe } from '../../kernel/linux/repair-options.ts';
import {
  IPPROTO_TCP,
  receiveQueueBytes,
  setOption,
  TCP_LINGER2,
  TCP_QUICKACK,
  unsentBytes,
} from '../../kernel/linux/socket.ts';

type Parking = Pick<ParkedSegments, 'park' | 'giveBack'>;

/** A socket that holds bytes back is deaf for a moment of its first capture: what comes in that moment comes after it. */
function capture(parked: Parking, fd: number, before?: HalfPipeCapture): HalfPipeCapture {
  if (before !== undefined) return captureHalfPipe(fd, before);
  const ends = unsentBytes(fd) > 0 ? tupleOf(fd) : null;
  if (ends === null) return captureHalfPipe(fd, undefined, false);
  parked.park(ends);
  try {
    return captureHalfPipe(fd);
  } finally {
    parked.giveBack(ends);
  }
}

export function socketKernel(parked: Parking): SocketKernel {
  return {
    capture: (fd, before) => capture(parked, fd, before),
    unreadBytes: receiveQueueBytes,
    probe,
    setSendWindow: refreshSendWindow,
    delayAcknowledgements: (fd) => setOption(fd, IPPROTO_TCP, TCP_QUICKACK, 0),
    limitFinWait: (fd, seconds) => setOption(fd, IPPROTO_TCP, TCP_LINGER2, seconds),
    reset: ({ client, public: pub }, sequence) => sendReset(pub, client, sequence),
  };
}
