/** Commands that run to their end on a host of the lab. */
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';

export interface ExecOptions {
  /** Standard input; none when left out. */
  readonly input?: string | Buffer;
  /** SIGKILL after this; default: never. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

export interface ExecResult {
  /** 128 + the signal's number when a signal ended it, as in a shell. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as it came. */
  readonly bytes: Buffer;
}

/** A shell's exit code for a command that a signal ended. */
export function exitCodeOf(signalName: NodeJS.Signals | null): number {
  return signalName === null ? 1 : 128 + constants.signals[signalName];
}

/** Feeds a command its input and gathers its output; resolves when it has ended. */
export async function collect(child: ChildProcess, options: ExecOptions): Promise<ExecResult> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout!.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr!.on('data', (bytes: Buffer) => err.push(bytes));
  // A command that does not read its input ends the pipe; its exit code tells the rest.
  child.stdin!.on('error', () => {});
  child.stdin!.end(options.input ?? '');
  const { timeoutMs } = options;
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  try {
    const code = await new Promise<number>((done, failed) => {
      child.on('error', failed);
      child.on('close', (status, signalName) => done(status ?? exitCodeOf(signalName)));
    });
    const bytes = Buffer.concat(out);
    return { code, bytes, stdout: bytes.toString('utf8'), stderr: Buffer.concat(err).toString('utf8') };
  } finally {
    clearTimeout(timer);
  }
}
