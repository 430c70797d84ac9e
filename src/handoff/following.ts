/**
 * The clone to which a connection's next request goes as well (rule follow), at the anchor: which one it is, whether it
 * has taken the request, and what it has said of it before the request was read here.
 *
 *   begun --request read--> taken, or not: nothing more goes there
 *     `--idle for long, link gone, a move--> stopped: what has gone there may still be taken
 */
import { type Frame, FrameType } from '../backplane/frames.ts';
import type { RequestHead } from '../http/request.ts';
import { FLAG_FOLLOW } from '../router/layout.ts';
import { advanceStamp, distance, type FlowRules, lastRange, type Range } from '../router/ranges.ts';
import { type Kept, type Next, nextEpoch } from './attempt.ts';
import type { Target } from './flow-targets.ts';
import { KEEP_IDLE_MS } from './target.ts';

/** Segments that the router was at work on when it was told to follow no more are through by then. */
const UNFOLLOWED_MS = 10;

/** Changes the flow's rules; writing them is the flow's. */
export class Following {
  readonly #rules: FlowRules;
  #kept: Kept | null = null;
  /** What it has said of the next request before that was read. */
  #early: Frame[] = [];
  #stoppedAtMs = 0;
  #busyAtMs = 0;

  constructor(rules: FlowRules) {
    this.#rules = rules;
  }

  /** Whether, and to whom, the request after the one of `epoch` goes as well. `asked`: that one by SETUP. */
  begin(target: Target, next: Next | null, epoch: number, asked: boolean): void {
    this.#rules.flags = next === null ? 0 : FLAG_FOLLOW;
    this.#rules.epoch = epoch;
    if (next === null) return;
    this.#kept = { ...next, target };
    // The clone goes on by the clock it was told. What the own socket acknowledges meanwhile is never older than that.
    if (asked) advanceStamp(this.#rules);
  }

  /** The range of the clone: it may have sent more than is known here. */
  get range(): Range | undefined {
    return this.#follows ? lastRange(this.#rules) : undefined;
  }

  get #follows(): boolean {
    return (this.#rules.flags & FLAG_FOLLOW) !== 0;
  }

  isTo(target: Target): boolean {
    return target === this.#kept?.target;
  }

  /**
   * The clone that may have taken the request which begins with `head`, the next one of the connection; null: none,
   * and none will. `followed`: how far the router has sent on, in the client's numbers.
   */
  takenBy(head: RequestHead, followed: number): Kept | null {
    const kept = this.#kept;
    if (kept === null) return null;
    this.#kept = null;
    const hasAll = distance((kept.at + head.headLength) >>> 0, followed) >= 0;
    const hasTaken = this.#early.some(({ type }) => type === FrameType.SETUP_OK);
    if (hasTaken || (hasAll && kept.choice.nodeFor(head) === kept.target.node)) return kept;
    this.#early = [];
    return null;
  }

  /** Whether a frame is the clone's word about the request after `epoch`, for later. */
  hears(frame: Frame, target: Target, epoch: number): boolean {
    if (!this.isTo(target) || !('epoch' in frame) || frame.epoch !== nextEpoch(epoch)) return false;
    this.#early.push(frame);
    return true;
  }

  /** What it has said already. */
  takeEarly(): Frame[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** Nothing more is sent on. Returns whether the rules have changed. */
  stop(nowMs: number): boolean {
    if (!this.#follows) return false;
    this.#rules.flags &= ~FLAG_FOLLOW;
    this.#stoppedAtMs = nowMs;
    return true;
  }

  /** It takes nothing any more. */
  forget(): void {
    this.#kept = null;
  }

  /** A connection at rest is followed for a while only. Returns whether the rules have changed. */
  tick(nowMs: number, isBusy: boolean): boolean {
    if (isBusy) this.#busyAtMs = nowMs;
    return !isBusy && nowMs - this.#busyAtMs > KEEP_IDLE_MS && this.stop(nowMs);
  }

  /** Whether no clone may have a byte of the next request, now and later; `inNext`: what the client sends next. */
  isOver(nowMs: number, inNext: number): boolean {
    if (this.#kept === null) return true;
    if (this.#follows || nowMs - this.#stoppedAtMs < UNFOLLOWED_MS || inNext !== this.#kept.at) return false;
    this.#kept = null;
    return true;
  }
}
