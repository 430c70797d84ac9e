/** Commands and processes of the machine, as the lab needs them. */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './error.ts';

const COMMAND_TIMEOUT_MS = 20_000;

/** Runs a command to its end and returns its standard output. Throws LabError when it fails. */
export function run(argv: readonly string[], input = ''): string {
  const { code, stdout, stderr } = attempt(argv, input);
  if (code === 0) return stdout;
  const shown = argv.join(' ') + (input === '' ? '' : `\n${input.trimEnd()}`);
  throw new LabError('LAB_COMMAND', `${shown}\nfailed (${code}): ${stderr.trim() || stdout.trim()}`);
}

/** Runs a command that may fail. `code` is -1 when it could not be started. */
export function attempt(
  argv: readonly string[],
  input = '',
): { code: number; stdout: string; stderr: string } {
  const options: SpawnSyncOptions = { input, encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS };
  const result = spawnSync(argv[0], argv.slice(1), options);
  const stderr = result.error === undefined ? String(result.stderr) : result.error.message;
  return { code: result.status ?? -1, stdout: String(result.stdout ?? ''), stderr };
}

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessId {
  readonly pid: number;
  /** When the process started, in clock ticks since boot: field 22 of /proc/PID/stat. */
  readonly startTime: number;
}

// The places in /proc/PID/stat (proc(5)) counted from the state, the first field after the command's name.
const STATE = 0;
const START_TIME = 19;

function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** The identity of a process, or of one that has ended and was not waited for yet; undefined when there is none. */
export function identify(pid: number): ProcessId | undefined {
  const fields = statFields(pid);
  return fields === undefined ? undefined : { pid, startTime: Number(fields[START_TIME]) };
}

/** Whether a process still runs: what has ended and was not waited for yet (a zombie) does not. */
export function isAlive(process: ProcessId): boolean {
  const fields = statFields(process.pid);
  if (fields === undefined || fields[STATE] === 'Z' || fields[STATE] === 'X') return false;
  return Number(fields[START_TIME]) === process.startTime;
}

/** Sends a signal to exactly that process; nothing when it is gone. */
export function signal(target: ProcessId, name: NodeJS.Signals): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, name);
  } catch {
    // The process ended between the two lines.
  }
}

/** The processes that run now and of which `matches`, given /proc/PID, holds. Those that end meanwhile do not. */
function processesOf(matches: (directory: string) => boolean): ProcessId[] {
  const found: ProcessId[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (!matches(`/proc/${entry}`)) continue;
    } catch {
      continue;
    }
    const process = identify(Number(entry));
    if (process !== undefined && isAlive(process)) found.push(process);
  }
  return found;
}

/** The processes whose network namespace is the one at `path`. */
export function processesIn(path: string): ProcessId[] {
  let inode: number;
  try {
    inode = statSync(path).ino;
  } catch {
    return [];
  }
  const wanted = `net:[${inode}]`;
  return processesOf((directory) => readlinkSync(join(directory, 'ns/net')) === wanted);
}

/**
 * The processes that have one of these as an argument of their command line, and those that have none: they are just
 * beginning a program (execve(2)), which may have one. A kernel's thread has no program.
 */
export function processesWith(args: readonly string[]): ProcessId[] {
  return processesOf((directory) => {
    const line = readFileSync(join(directory, 'cmdline'), 'utf8');
    if (line === '') return readlinkSync(join(directory, 'exe')) !== '';
    return line.split('\0').some((arg) => args.includes(arg));
  });
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Blocks until the condition holds or the time is over; tells which. */
export function waitSync(timeoutMs: number, condition: () => boolean): boolean {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) return false;
    Atomics.wait(sleeper, 0, 0, 5);
  }
  return true;
}
