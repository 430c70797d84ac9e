/**
 * Who may say what in a conversation. Whoever opens one takes its number, the dial end an odd one, the accept end an
 * even one; so of every frame that bears a number it is known whether its sender has opened the conversation, before
 * anybody looks for it. Pure.
 */
import { type Frame, rowOf } from './frame-table.ts';
import { FrameType } from './frame-types.ts';
import type { Role } from './handshake.ts';

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
  return rowOf(frame.type)?.speaker !== (opened ? 'taker' : 'opener');
}
