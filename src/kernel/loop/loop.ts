/**
 * The event loop of an engine. One turn: wait, dispatch events, settle (links are flushed before anything that
 * depends on their frames being out), run what was put off, settle again, look at the deadlines.
 */
import { Epoll } from '../linux/epoll.ts';
import { monotonicMs } from '../linux/monotonic.ts';
import { threadCpuMs } from '../linux/thread-time.ts';

/** Something with a descriptor. */
export interface Source {
  /** `events`: epoll's bits. Descriptors are edge-triggered unless their owner says otherwise. */
  ready(events: number): void;
}

/** The loop wakes at least this often while something waits for a deadline or a ring event. */
export const TICK_MS = 10;
/** While something waits for what only asking again tells: a connection that moves when all is acknowledged. */
export const QUICK_TICK_MS = 1;
export const IDLE_MS = 200;
const US_PER_MS = 1000;

export class Loop {
  readonly #epoll = new Epoll();
  readonly #sources: Array<Source | undefined> = [];
  /** How often each descriptor's number was added. */
  readonly #uses: number[] = [];
  #deferred: Array<() => void> = [];
  #running = false;
  #stopped = false;
  readonly #clock: () => number;
  /** How long it looks for events before it sleeps; 0: not at all. */
  readonly #spinMs: number;
  #spunMs = 0;
  /** Monotonic time of this turn. */
  nowMs: number;
  /** Wall clock of this turn, for Date. */
  wallMs = Date.now();

  constructor(spinUs = 0, clock: () => number = monotonicMs) {
    this.#clock = clock;
    this.#spinMs = spinUs / US_PER_MS;
    this.nowMs = clock();
  }

  exactMs(): number {
    return this.#clock();
  }

  /** Processor time of this thread, without what went into looking for events, in milliseconds. */
  get cpuMs(): number {
    return threadCpuMs() - this.#spunMs;
  }

  add(fd: number, events: number, source: Source): void {
    const use = ((this.#uses[fd] ?? 0) + 1) | 0;
    this.#sources[fd] = source;
    this.#uses[fd] = use;
    this.#epoll.add(fd, events, use);
  }

  /** From now on another source hears of a descriptor's events. */
  give(fd: number, source: Source): void {
    this.#sources[fd] = source;
  }

  /** Forgets a descriptor that is about to be closed (closing takes it out of epoll). */
  forget(fd: number): void {
    this.#sources[fd] = undefined;
  }

  /** Runs `task` in this turn, after the links have been flushed. */
  defer(task: () => void): void {
    this.#deferred.push(task);
  }

  stop(): void {
    this.#running = false;
    this.#stopped = true;
  }

  /** Leaves `run` after this turn, to be called again soon: the thread has promises to see to. */
  pause(): void {
    this.#running = false;
  }

  /**
   * With `spinUs` the loop looks for events for a while before it sleeps: to be woken takes longer than many a request.
   */
  #wait(limitMs: number): number {
    if (this.#spinMs === 0 || limitMs === 0) return this.#epoll.wait(limitMs);
    const beganMs = performance.now();
    let passedMs = 0;
    let count = 0;
    do {
      count = this.#epoll.wait(0);
      passedMs = performance.now() - beganMs;
    } while (count === 0 && passedMs < this.#spinMs);
    this.#spunMs += passedMs;
    return count > 0 ? count : this.#epoll.wait(limitMs);
  }

  /**
   * Runs until `stop`, then it returns true, or until `pause`. `settle` is called whenever frames may wait to be
   * sent; `tick` once a turn, and says within how many milliseconds the loop has to come back.
   */
  run(settle: () => void, tick: () => number): boolean {
    this.#running = true;
    let waitMs = 0;
    while (this.#running) {
      const count = this.#wait(this.#deferred.length > 0 ? 0 : waitMs);
      this.nowMs = this.#clock();
      this.wallMs = Date.now();
      for (let i = 0; i < count; i++) {
        const fd = this.#epoll.fdOf(i);
        // An event before this one may have closed the descriptor, and opened another by the same number.
        if (this.#epoll.tagOf(i) !== this.#uses[fd]) continue;
        this.#sources[fd]?.ready(this.#epoll.eventsOf(i));
      }
      settle();
      if (this.#deferred.length > 0) {
        const tasks = this.#deferred;
        this.#deferred = [];
        for (const task of tasks) task();
        settle();
      }
      waitMs = tick();
      settle();
    }
    if (this.#stopped) this.#epoll.close();
    return this.#stopped;
  }
}
