/**
 * The two logs of a node, one JSON object a line: what the process has to say, to standard error, and the access
 * log, one line for each request, which the engines make (src/client/access-line.ts).
 */
import { type Logger, pino, stdTimeFunctions } from 'pino';
import type { LogLevel } from '../../base/config/config.ts';
import type { AccessBatch } from '../../client/access-batch.ts';
import type { EngineClient } from './engines.ts';
import { AdminError } from './errors.ts';
import { DirectSink, GatheringSink } from './sink.ts';

const STDOUT = 1;
const STDERR = 2;

export interface ProcessLog {
  readonly logger: Logger;
  /** Lines that standard error did not take. */
  readonly droppedLines: number;
}

/** Every line has these already; a caller's `node` is another one. */
function withoutDoubles({ node, pid, ...fields }: Record<string, unknown>): Record<string, unknown> {
  return node === undefined ? fields : { peer: node, ...fields };
}

/** Opens the process log on standard error. Lines: level, time (RFC 3339), node, pid, msg and the caller's fields. */
export function openProcessLog(options: { readonly level: LogLevel; readonly node: string }): ProcessLog {
  const sink = new DirectSink(STDERR);
  const logger = pino(
    {
      level: options.level,
      base: { node: options.node, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withoutDoubles },
    },
    sink,
  );
  return {
    logger,
    get droppedLines() {
      return sink.droppedLines;
    },
  };
}

/** Logs what an engine has to say, and that it came and went. */
export function logEngine(logger: Logger, client: EngineClient): void {
  const { engine } = client;
  client.on('log', (level, message, fields) => logger[level]({ engine, ...fields }, message));
  client.on('state', () => {
    logger.info({ engine, state: client.state, ready: client.ready }, 'engine state changed');
  });
}

export interface AccessLogOptions {
  /** `-` for standard output, null for off, else a path, opened again at SIGHUP. */
  readonly destination: string | null;
  /** Told of the first of any write errors in a row, and of a reopening that failed. */
  readonly onError: (error: Error) => void;
}

/** The access log. It never makes its writers wait: lines that the destination is too slow for are dropped. */
export class AccessLog {
  readonly #sink: GatheringSink | null;
  readonly #onHangup: (() => void) | null = null;

  /** Throws LOG_FILE when the file cannot be opened. */
  constructor(options: AccessLogOptions) {
    const { destination, onError } = options;
    this.#sink = destination === null ? null : openSink(destination, onError);
    if (destination === null || destination === '-') return;
    this.#onHangup = () => this.#sink?.reopen();
    process.on('SIGHUP', this.#onHangup);
  }

  get droppedLines(): number {
    return this.#sink?.droppedLines ?? 0;
  }

  /** Takes whole lines, as an engine has made them. */
  write({ bytes, lines, dropped }: Pick<AccessBatch, 'bytes' | 'lines' | 'dropped'>): void {
    if (this.#sink === null) return;
    this.#sink.drop(dropped);
    if (lines > 0) this.#sink.write(bytes, lines);
  }

  /** Writes what is pending, for a bounded time, and closes. To be awaited before the process exits. */
  async close(): Promise<void> {
    if (this.#onHangup !== null) process.off('SIGHUP', this.#onHangup);
    await this.#sink?.close();
  }
}

function openSink(destination: string, onError: (error: Error) => void): GatheringSink {
  try {
    return new GatheringSink(destination === '-' ? STDOUT : destination, onError);
  } catch (error) {
    const hint = 'check observe.accessLog: the directory must exist and be writable';
    throw new AdminError('LOG_FILE', `${(error as Error).message}; ${hint}`);
  }
}
