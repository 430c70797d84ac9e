/**
 * The clone to which a connection's next request goes as well (rule follow), at the anchor: which one it is, whether it
 * has taken the request, and what it has said of it before the request was read here.
 *
 *   begun --request read--> taken, or not: nothing more goes there
 *     `--idle for long, link gone, a move--> stopped: what has gone there may still be taken
 */

import { FLAG_FOLLOW } from '../../kernel/router/layout.ts';
import { advanceStamp, distance, lastRange, type Range } from '../../kernel/router/ranges.ts';
import { type Frame, FrameType } from '../../protocol/backplane/frames.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { KEEP_IDLE_MS } from '../flow/agreed.ts';
import { nextEpoch } from '../flow/epoch.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { Target } from './flow-targets.ts';
import type { NextRequest, Standby } from './handoff.ts';

/** Segments that the router was at work on when it was told to follow no more are through by then. */
const UNFOLLOWED_MS = 10;
/**
 * The most frames about one request before it is read here: the clone answers, asks whether it may begin late, and
 * gives up.
 */
const MAX_EARLY_FRAMES = 8;

export class AnchorStandby {
  readonly #entry: FlowEntry;
  #standby: Standby | null = null;
  /** What it has said of the next request before that was read. */
  #early: Frame[] = [];
  #stoppedAtMs = 0;
  #busyAtMs = 0;

  constructor(entry: FlowEntry) {
    this.#entry = entry;
  }

  /**
   * Whether, and to whom, the request after the one of `epoch` goes as well. `asked`: that one by SETUP. The caller
   * writes the rules.
   */
  begin(target: Target, next: NextRequest | null, epoch: number, asked: boolean): void {
    const { rules } = this.#entry;
    rules.flags = next === null ? 0 : FLAG_FOLLOW;
    rules.epoch = epoch;
    if (next === null) return;
    // No spread: V8 makes a hidden class for each, which is old from the beginning.
    this.#standby = { at: next.at, choice: next.choice, target };
    // The clone keeps to the timestamps that SETUP told it; those of the own socket's acknowledgements must not be older.
    if (asked) advanceStamp(rules);
  }

  /** The range of the clone: it may have sent more than is known here. */
  get range(): Range | undefined {
    return this.#follows ? lastRange(this.#entry.rules) : undefined;
  }

  get #follows(): boolean {
    return (this.#entry.rules.flags & FLAG_FOLLOW) !== 0;
  }

  isTo(target: Target): boolean {
    return target === this.#standby?.target;
  }

  /**
   * The clone that may have taken the request which begins with `head`, the next one of the connection; null: none,
   * and none will. From here on nothing more is sent on to it.
   */
  takenBy(head: RequestHead, nowMs: number): Standby | null {
    const standby = this.#standby;
    this.#standby = null;
    if (standby !== null && this.#hasTaken(standby, head)) return standby;
    this.#early = [];
    this.stop(nowMs);
    return null;
  }

  #hasTaken(standby: Standby, head: RequestHead): boolean {
    if (this.#early.some(({ type }) => type === FrameType.SETUP_OK)) return true;
    const hasAll = distance((standby.at + head.headLength) >>> 0, this.#entry.followed) >= 0;
    return hasAll && standby.choice.nodeFor(head) === standby.target.node;
  }

  /** Whether a frame is the clone's word about the request after `epoch`, for later. */
  hears(frame: Frame, target: Target, epoch: number): boolean {
    if (!this.isTo(target) || !('epoch' in frame) || frame.epoch !== nextEpoch(epoch)) return false;
    if (this.#early.length < MAX_EARLY_FRAMES) this.#early.push(frame);
    return true;
  }

  /** What it has said already. */
  takeEarly(): Frame[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** Nothing more is sent on. */
  stop(nowMs: number): void {
    if (!this.#follows) return;
    this.#entry.rules.flags &= ~FLAG_FOLLOW;
    this.#entry.write();
    this.#stoppedAtMs = nowMs;
  }

  /** The clone takes no more requests. */
  forget(): void {
    this.#standby = null;
  }

  /** A connection at rest is followed for a while only. */
  tick(nowMs: number, isBusy: boolean): void {
    if (isBusy) this.#busyAtMs = nowMs;
    else if (nowMs - this.#busyAtMs > KEEP_IDLE_MS) this.stop(nowMs);
  }

  /** Whether no clone may have a byte of the next request, now and later. */
  isOver(nowMs: number): boolean {
    if (this.#standby === null) return true;
    if (this.#follows || nowMs - this.#stoppedAtMs < UNFOLLOWED_MS) return false;
    if (this.#entry.inNext !== this.#standby.at) return false;
    this.#standby = null;
    return true;
  }
}
