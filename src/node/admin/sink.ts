/**
 * Where log lines go. Neither sink grows or blocks when its reader is slower than the writers: lines are dropped
 * and counted. A line is written whole or not at all, as far as a reader of lines can tell: after a write that
 * failed in the middle of a line, or behind one that a process before left so, a line feed comes first.
 */
import { closeOutput, type Output, openFile, openInherited, writeLater, writeNow } from './output.ts';

/** Bytes of lines that wait while a write is under way; as many again may be in that write. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** Lines are gathered for this long, or until there are this many bytes, before a write. */
const GATHER_MS = 20;
const GATHER_BYTES = 32 * 1024;
/** When a full pipe or terminal is tried again. */
const FULL_RETRY_MS = 2;
/** How long `close` waits for the last lines to be taken. */
export const SINK_CLOSE_MS = 1000;

const LINE_FEED = 10;

/** A few lines, written at once: for the process log, whose last line must not be lost with the process. */
export class DirectSink {
  readonly #output: Output;
  #dropped = 0;
  #torn = false;

  constructor(fd: number) {
    this.#output = openInherited(fd);
  }

  get droppedLines(): number {
    return this.#dropped;
  }

  write(line: string): void {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line);
    let written = 0;
    try {
      while (written < bytes.length) written += writeNow(this.#output, bytes, written);
      this.#torn = false;
    } catch {
      // This is the log itself, so the failure is only counted.
      this.#dropped += 1;
      if (written > 0) this.#torn = bytes[written - 1] !== LINE_FEED;
    }
  }
}

/** Many lines, gathered and written in the background: for the access log. */
export class GatheringSink {
  readonly #path: string | null;
  readonly #onError: (error: Error) => void;
  #output: Output;
  /** Lines not in a write yet. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #pendingLines = 0;
  /** The write under way: the bytes, how many of them are out, and to where. */
  #chunk: Buffer | null = null;
  #chunkLines = 0;
  #written = 0;
  #chunkOutput: Output;
  #gathering: NodeJS.Timeout | null = null;
  /** The file ends in the middle of a line; and did so when the write under way began. */
  #torn = false;
  #wasTorn = false;
  #failing = false;
  #closed = false;
  #dropped = 0;
  #onIdle: (() => void) | null = null;

  /**
   * `destination`: a path, or 1 or 2 for an inherited descriptor. Throws the system's error when a path cannot be
   * opened. `onError` is told of the first of any errors in a row.
   */
  constructor(destination: string | number, onError: (error: Error) => void) {
    this.#path = typeof destination === 'string' ? destination : null;
    this.#output = typeof destination === 'string' ? openFile(destination) : openInherited(destination);
    this.#chunkOutput = this.#output;
    this.#torn = this.#output.torn;
    this.#onError = onError;
  }

  get droppedLines(): number {
    return this.#dropped;
  }

  drop(lines: number): void {
    this.#dropped += lines;
  }

  /** Takes whole lines, with their line feeds. */
  write(bytes: Uint8Array, lines: number): void {
    if (this.#pendingBytes >= MAX_PENDING_BYTES || this.#closed) {
      this.#dropped += lines;
      return;
    }
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#pendingLines += lines;
    if (this.#chunk !== null) return;
    if (this.#pendingBytes >= GATHER_BYTES) this.#begin();
    else this.#gather();
  }

  /**
   * Opens the path again, after the old file was renamed. What is being written still goes to the old file. When
   * the path cannot be opened the old file stays in use, and the error goes to `onError`.
   */
  reopen(): void {
    if (this.#path === null || this.#closed) return;
    const old = this.#output;
    try {
      this.#output = openFile(this.#path);
    } catch (error) {
      this.#onError(error as Error);
      return;
    }
    this.#torn = this.#output.torn;
    if (this.#chunk === null || this.#chunkOutput !== old) closeOutput(old);
  }

  /** Writes what is pending and closes; after SINK_CLOSE_MS what was not taken is dropped. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#chunk === null && this.#pendingBytes > 0) this.#begin();
    if (this.#chunk !== null) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, SINK_CLOSE_MS);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#dropped += this.#pendingLines;
    this.#forget();
    // A descriptor with a write still under way is closed by that write's end.
    if (this.#chunk === null || this.#chunkOutput !== this.#output) closeOutput(this.#output);
    this.#onIdle = null;
  }

  #begin(): void {
    if (this.#gathering !== null) clearTimeout(this.#gathering);
    this.#gathering = null;
    this.#chunk = Buffer.concat(this.#torn ? [Buffer.of(LINE_FEED), ...this.#pending] : this.#pending);
    this.#chunkLines = this.#pendingLines;
    this.#chunkOutput = this.#output;
    this.#written = 0;
    this.#wasTorn = this.#torn;
    this.#torn = false;
    this.#forget();
    this.#continue();
  }

  #forget(): void {
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#pendingLines = 0;
  }

  #continue(): void {
    writeLater(this.#chunkOutput, this.#chunk!, this.#written, (error, count) => {
      if (error === null) this.#wrote(count);
      else if (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK') this.#wait();
      else this.#failed(error);
    });
  }

  #wrote(count: number): void {
    this.#failing = false;
    this.#written += count;
    if (this.#written < this.#chunk!.length) this.#continue();
    else this.#end();
  }

  /** The reader is slow. Once `close` gave up waiting nothing keeps the process for it. */
  #wait(): void {
    const gaveUp = this.#closed && this.#onIdle === null;
    if (gaveUp) this.#giveUp();
    else setTimeout(() => this.#continue(), FULL_RETRY_MS);
  }

  #failed(error: Error): void {
    const first = !this.#failing;
    this.#failing = true;
    this.#giveUp();
    if (first) this.#onError(error);
  }

  #giveUp(): void {
    const chunk = this.#chunk!;
    let left = 0;
    for (let at = chunk.indexOf(LINE_FEED, this.#written); at !== -1; at = chunk.indexOf(LINE_FEED, at + 1))
      left += 1;
    this.#dropped += Math.min(left, this.#chunkLines);
    const sameOutput = this.#chunkOutput === this.#output;
    const isTorn = this.#written > 0 ? chunk[this.#written - 1] !== LINE_FEED : this.#wasTorn;
    if (sameOutput) this.#torn = isTorn;
    this.#end();
  }

  #end(): void {
    const stale = this.#chunkOutput !== this.#output || (this.#closed && this.#onIdle === null);
    this.#chunk = null;
    if (stale) closeOutput(this.#chunkOutput);
    if (this.#pendingBytes === 0) this.#onIdle?.();
    else if (this.#closed || this.#pendingBytes >= GATHER_BYTES) this.#begin();
    else this.#gather();
  }

  #gather(): void {
    this.#gathering ??= setTimeout(() => this.#begin(), GATHER_MS);
  }
}
