/** What SETUP says of the out-half that a target is to go on with. */

import { isMapped } from '../../base/address.ts';
import type { HalfPipeCapture } from '../../kernel/linux/half-pipe-capture.ts';
import { pathMss } from '../../kernel/tcp/path-mss.ts';
import { type HalfPipe, NO_WINDOW_SCALE } from '../../protocol/backplane/frames.ts';
import { MAX_SEND_WINDOW_BYTES, sendWindowFrom } from '../flow/send-window.ts';

/** What has changed since the anchor's socket was read, in the client's sequence space. */
export interface Present {
  /** Where the target starts. */
  readonly start: number;
  /** The right edge of the client's window. */
  readonly edge: number;
  /** The client's number after the last byte that the anchor is known to have. */
  readonly acknowledge: number;
  readonly nowMs: number;
  /** Added to the socket's clock. */
  readonly stamp: number;
  readonly tsecr: number;
  /** The smallest MTU that a router on the path has told of since the flow began; 0: none has. */
  readonly pathMtu: number;
  /** The congestion window of the last sender; 0 when it has not said. */
  readonly congestionWindow: number;
  readonly srttUs: number;
}

export function halfPipeBlock(capture: HalfPipeCapture, present: Present): HalfPipe {
  const sendWindow = sendWindowFrom(present.start, present.edge);
  const pathMtu = Math.min(capture.pathMtu, present.pathMtu || capture.pathMtu);
  return {
    clientAddress: capture.client.address,
    clientPort: capture.client.port,
    publicAddress: capture.public.address,
    publicPort: capture.public.port,
    family: isMapped(capture.public.address) ? 4 : 6,
    sack: capture.sack,
    timestamps: capture.timestamps,
    ecn: false,
    mss: pathMss(capture.mss, pathMtu, capture.public.address),
    sendScale: capture.sendScale < 0 ? NO_WINDOW_SCALE : capture.sendScale,
    receiveScale: capture.receiveScale < 0 ? NO_WINDOW_SCALE : capture.receiveScale,
    sequence: present.start,
    acknowledge: present.acknowledge,
    receiveWindow: Math.min(capture.receiveWindow, MAX_SEND_WINDOW_BYTES),
    sendWindow,
    maxWindow: Math.max(Math.min(capture.maxWindow, MAX_SEND_WINDOW_BYTES), sendWindow),
    tsval: (present.nowMs + capture.clockOffset + present.stamp) >>> 0,
    tsecr: present.tsecr,
    congestionWindow: present.congestionWindow || capture.congestionWindow,
    srttUs: present.srttUs || capture.srttUs,
  };
}
