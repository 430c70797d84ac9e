/**
 * The two logs of a node, one JSON object a line: what the process has to say, to standard error, and the access
 * log, one line for each answered request.
 */
import { type Logger, pino, stdTimeFunctions } from 'pino';
import type { LogLevel } from '../../base/config/config.ts';
import type { AccessRecord } from '../../client/access-records.ts';
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

/** Opens the process log on standard error. Lines: level, time (RFC 3339), node, pid, msg and the caller's fields. */
export function openProcessLog(options: { readonly level: LogLevel; readonly node: string }): ProcessLog {
  const sink = new DirectSink(STDERR);
  const logger = pino(
    {
      level: options.level,
      base: { node: options.node, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
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

/**
 * One line of the access log. Times are microseconds, null where one does not apply; `target` is the request's
 * target (RFC 9112 3.2), `node` the node that answered.
 */
export function accessLine(record: AccessRecord): string {
  return `${JSON.stringify({
    time: new Date(record.timeMs).toISOString(),
    client: record.client,
    method: record.method,
    target: record.target,
    host: record.host,
    status: record.status,
    bytes: record.bytes,
    bodyBytes: record.bodyBytes,
    anchor: record.anchor,
    node: record.node,
    mechanism: record.mechanism,
    firstByteUs: known(record.firstByteUs),
    handoffUs: known(record.handoffUs),
    messages: known(record.messages),
    messageBytes: known(record.messageBytes),
    durationUs: known(record.durationUs),
  })}\n`;
}

/** -1 is what a record says where something does not apply. */
function known(value: number): number | null {
  return value < 0 ? null : value;
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

  write(records: readonly AccessRecord[]): void {
    if (this.#sink === null) return;
    for (const record of records) {
      if (this.#sink.hasRoom) this.#sink.write(accessLine(record));
      else this.#sink.drop(1);
    }
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
