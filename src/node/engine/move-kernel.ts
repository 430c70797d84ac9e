/** What moves do to sockets, by the real kernel. */
import { tupleOf } from '../../handoff/flow/four-tuple.ts';
import type { MoveKernel } from '../../handoff/move/move-ports.ts';
import { probe } from '../../kernel/linux/repair-options.ts';
import { receiveQueueBytes, sendQueueBytes, unsentBytes } from '../../kernel/linux/socket.ts';
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
