/** What half-pipes do to their sockets, by the real kernel. */
import type { HalfPipeKernel } from '../../handoff/target/half-pipe-ports.ts';
import {
  disconnectSilently,
  lastRestored,
  refreshSendWindow,
  restoreHalfPipe,
} from '../../kernel/linux/half-pipe.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { lastInfo, readInfo } from '../../kernel/linux/repair-options.ts';
import {
  IPPROTO_TCP,
  pendingError,
  sendQueueBytes,
  setOption,
  TCP_USER_TIMEOUT,
} from '../../kernel/linux/socket.ts';
import { silentClose } from '../../kernel/linux/tcp-repair.ts';
import { SocketSink } from '../../serve/byte-sink.ts';

export const HALF_PIPE_KERNEL: HalfPipeKernel = {
  restore(seed, spare) {
    const fd = restoreHalfPipe(seed, spare);
    const { clockOffset, limitsTimeout, wasSpare } = lastRestored;
    return { fd, clockOffset, limitsTimeout, wasSpare };
  },
  limitStall: (fd, limitMs) => setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, limitMs),
  setSendWindow: refreshSendWindow,
  queuedBytes: sendQueueBytes,
  info(fd) {
    readInfo(fd);
    return lastInfo;
  },
  takeError: pendingError,
  // The next response may lie elsewhere in the client's sequence space: each ends its segment.
  out: (fd) => new SocketSink(fd, 'anyone'),
  closeSilently: silentClose,
  empty: disconnectSilently,
  close: libc.close,
};
