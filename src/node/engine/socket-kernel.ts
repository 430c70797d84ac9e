/** What a flow does to its connection's socket, by the real kernel. */
import type { SocketKernel } from '../../handoff/anchor/own-socket.ts';
import { refreshSendWindow } from '../../kernel/linux/half-pipe.ts';
import { captureHalfPipe } from '../../kernel/linux/half-pipe-capture.ts';
import { probe } from '../../kernel/linux/repair-options.ts';
import { IPPROTO_TCP, receiveQueueBytes, setOption, TCP_LINGER2 } from '../../kernel/linux/socket.ts';

export const SOCKET_KERNEL: SocketKernel = {
  capture: captureHalfPipe,
  unreadBytes: receiveQueueBytes,
  probe,
  setSendWindow: refreshSendWindow,
  limitFinWait: (fd, seconds) => setOption(fd, IPPROTO_TCP, TCP_LINGER2, seconds),
};
