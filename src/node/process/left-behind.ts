/** What a killed process has left: half-pipes, and connections of which it was the anchor. The next process ends them. */
import type { Logger } from 'pino';
import { SystemError } from '../../kernel/linux/errors.ts';
import { destroyBetween, destroyMarked } from '../../kernel/linux/sock-diag.ts';
import { HALF_PIPE_MARK } from '../../kernel/router/layout.ts';
import { resetLeft } from '../../kernel/router/left-flows.ts';
import type { Router } from '../../kernel/router/router.ts';

/**
 * When clients are told once more: nobody acknowledges a reset, and queues that are full with what others still download
 * drop it, or what the client answers.
 */
const AGAIN_MS = [500, 1500, 3500, 7500, 15_000] as const;

export class LeftBehind {
  readonly #router: Pick<Router, 'left' | 'forgetLeft'>;
  readonly #logger: Pick<Logger, 'warn'>;
  #timers: NodeJS.Timeout[] = [];

  constructor(router: Pick<Router, 'left' | 'forgetLeft'>, logger: Pick<Logger, 'warn'>) {
    this.#router = router;
    this.#logger = logger;
  }

  /** Before clients come. */
  end(): void {
    this.#endHalfPipes();
    const { left } = this.#router;
    if (left.length === 0) return;
    this.#logger.warn({ connections: left.length }, 'ending connections that a process left');
    // Those of which a socket is still there; and all, since what a process had frozen ends without a word.
    this.#unlessSystemFails('what it had not delivered stays for limits.stallSeconds', () =>
      destroyBetween(left.map(({ client, public: pub }) => ({ local: pub, remote: client }))),
    );
    this.#tell();
    this.#timers = AGAIN_MS.map((ms) => setTimeout(() => this.#tell(), ms));
  }

  /**
   * Keeps for `ms` what the router knows of the killed process's connections: so long the kernel goes on with what it
   * had not delivered.
   */
  remember(ms: number): void {
    this.#timers.push(setTimeout(() => this.#router.forgetLeft(), ms));
  }

  close(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }

  /**
   * What a killed process had not delivered, another node has. Until its sockets have gone this node could not serve
   * the same clients again.
   */
  #endHalfPipes(): void {
    this.#unlessSystemFails('half-pipes that a process left stay for limits.stallSeconds', () => {
      const sockets = destroyMarked(HALF_PIPE_MARK);
      if (sockets > 0) this.#logger.warn({ sockets }, 'ended half-pipes that a process left');
    });
  }

  /**
   * Clients whose responses other nodes were sending hear nothing of the end, unless it was at once: no number of the
   * killed process's sockets means anything to them.
   */
  #tell(): void {
    this.#unlessSystemFails('some clients hear it with their next segment', () =>
      resetLeft(this.#router.left),
    );
  }

  #unlessSystemFails(consequence: string, act: () => unknown): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#logger.warn({ error: error.message }, consequence);
    }
  }
}
