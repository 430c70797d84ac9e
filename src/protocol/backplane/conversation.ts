/**
 * Who may say what in a conversation. Whoever opens one takes its number, the dial end an odd one, the accept end an
 * even one; so of every frame that bears a number it is known whether its sender has opened the conversation, before
 * anybody looks for it. Pure.
 */
import { type Frame, FrameType } from './frames.ts';
import type { Role } from './handshake.ts';

const BY_OPENER: ReadonlySet<FrameType> = new Set([
  FrameType.SETUP,
  FrameType.CONFIRM,
  FrameType.WINDOW,
  FrameType.RESET,
  FrameType.MIGRATE,
  FrameType.MIGRATE_DATA,
]);

const BY_TAKER: ReadonlySet<FrameType> = new Set([
  FrameType.SETUP_OK,
  FrameType.SETUP_REJECT,
  FrameType.DATA_DONE,
  FrameType.COLLECTED,
  FrameType.RESET_OK,
  FrameType.MIGRATE_OK,
]);

/** Whether the end of that role takes the number for a conversation that it opens. */
export function isOpenedBy(role: Role, request: number): boolean {
  return request !== 0 && request % 2 === (role === 'dial' ? 1 : 0);
}

/** Whether an end of that role may send a frame; false: no peer of ours does. */
export function maySend(role: Role, frame: Frame): boolean {
  if (!('request' in frame)) return true;
  if (frame.request === 0) return false;
  const opened = isOpenedBy(role, frame.request);
  if (frame.type === FrameType.RELAY_DATA) return frame.requestBody === opened;
  return !(opened ? BY_TAKER : BY_OPENER).has(frame.type);
}
