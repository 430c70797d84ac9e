/** What the parts of an engine need of its loop, one thing each, so that a test can stand in for it. Types only. */
import type { Source } from './loop.ts';

export interface Clock {
  /** Monotonic time of this turn, in milliseconds. */
  readonly nowMs: number;
  /** The time at this very moment: a turn may last, and a process may be stopped in it. */
  exactMs(): number;
}

export interface Later {
  /** Runs `task` in this turn, after the links have been flushed. */
  defer(task: () => void): void;
}

export interface Watch {
  /** `events`: epoll's bits. */
  add(fd: number, events: number, source: Source): void;
  /** From now on another source hears of a descriptor's events. */
  give(fd: number, source: Source): void;
  /** Forgets a descriptor that is about to be closed. */
  forget(fd: number): void;
}

/** A part of an engine in which time passes. */
export interface Ticking {
  /** Once a turn. */
  turn(nowMs: number): void;
  /** Within how many milliseconds it wants the next turn; asked when every part has had this one. */
  readonly waitMs: number;
  /** Every 100 ms. */
  round(nowMs: number): void;
}
