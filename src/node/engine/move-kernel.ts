/** What moves, and connections that have moved here, do to sockets, by the real kernel. */
import { tupleOf } from '../../handoff/flow/four-tuple.ts';
import type { GuestKernel } from '../../handoff/move/guests.ts';
import type { MoveKernel } from '../../handoff/move/move-ports.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { lastInfo, probe, readInfo, TcpState } from '../../kernel/linux/repair-options.ts';
import {
  abortClose,
  receiveQueueBytes,
  SHUT_WR,
  sendQueueBytes,
  unsentBytes,
} from '../../kernel/linux/socket.ts';
import { capture, release, restoreSilently, silentClose, thaw } from '../../kernel/linux/tcp-repair.ts';

export const MOVE_KERNEL: MoveKernel = {
  ends: tupleOf,
  queuedBytes: sendQueueBytes,
  unsentBytes,
  unreadBytes: receiveQueueBytes,
  freeze: (fd, options) => capture(fd, { freeze: true, ...options }),
  thaw,
  restore: restoreSilently,
  release,
  probe,
  closeSilently: silentClose,
};

function hasClosed(fd: number): boolean {
  try {
    readInfo(fd);
    return lastInfo.state() === TcpState.CLOSE;
  } catch (error) {
    if (error instanceof SystemError) return true;
    throw error;
  }
}

export const GUEST_KERNEL: GuestKernel = {
  shut: (fd) => void libc.shutdown(fd, SHUT_WR),
  hasClosed,
  drop: abortClose,
  leave: (fd) => void libc.close(fd),
};
