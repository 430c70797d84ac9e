/** What an engine says: lines for the main thread's log. What others can cause must not fill a disk. */
import { LineLimit } from '../../base/line-limit.ts';
import type { Log } from '../../base/log.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { FromEngine } from './messages.ts';

/** Lines of a kind, of warnings and errors, in a period. */
const LOG_LINES = 20;
const LOG_PERIOD_MS = 10_000;

export class EngineLog {
  readonly #engine: number;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #post: (message: FromEngine) => void;
  readonly #limit = new LineLimit(LOG_LINES, LOG_PERIOD_MS);

  constructor(engine: number, clock: Pick<Clock, 'nowMs'>, post: (message: FromEngine) => void) {
    this.#engine = engine;
    this.#clock = clock;
    this.#post = post;
  }

  readonly say: Log = (level, message, fields) => {
    if (level === 'info' || this.#limit.allows(message, this.#clock.nowMs))
      this.#post({ type: 'log', level, message, fields: { engine: this.#engine, ...fields } });
  };

  /** Says how many lines were left out. */
  round(nowMs: number): void {
    for (const { kind, lines, periodMs } of this.#limit.ended(nowMs)) {
      const fields = { engine: this.#engine, leftOut: lines, seconds: Math.round(periodMs / 1000) };
      this.#post({ type: 'log', level: 'warn', message: kind, fields });
    }
  }
}
