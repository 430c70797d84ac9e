/** What must not outlive the benchmarks: labs, peers' processes, files. Removed at exit, also after Ctrl-C. */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

const pending: Array<() => void> = [];
let scratch: string | undefined;

/** Calls `action` (synchronous) at exit unless it is called before. Returns it, to be called at most once. */
export function atExit(action: () => void): () => void {
  const once = () => {
    const index = pending.indexOf(once);
    if (index < 0) return;
    pending.splice(index, 1);
    action();
  };
  pending.push(once);
  return once;
}

/** A temporary directory for this run. */
export function scratchDirectory(): string {
  if (scratch === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'baton-bench-'));
    scratch = directory;
    atExit(() => {
      scratch = undefined;
      rmSync(directory, { recursive: true, force: true });
    });
  }
  return scratch;
}

/** The last first: processes before the lab they are in, the lab before its files. */
export function cleanUpNow(): void {
  while (pending.length > 0) pending.at(-1)!();
}

/** Call once, at the start. */
export function cleanUpAtExit(): void {
  process.on('exit', cleanUpNow);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => process.exit(128 + constants.signals[name]));
}
