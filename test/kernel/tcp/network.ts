/** A network of one's own for a test process that needs root: a fresh network namespace with lo up. */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import koffi from 'koffi';
import { skipUnlessRoot } from '../../tools/lab/root.ts';

const CLONE_NEWNET = 0x4000_0000;

/** Why tests that need root are skipped, or false when they run. */
export const skipWithoutRoot = (): string | false => skipUnlessRoot().skip;

/** Runs a command that must succeed, in this process's network. */
export function run(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

/** Moves this process into a new network namespace, which ends with it. */
export function privateNetwork(): void {
  const unshare = koffi.load('libc.so.6').func('int unshare(int)');
  assert.equal(unshare(CLONE_NEWNET), 0, 'unshare');
  run('ip', 'link', 'set', 'lo', 'up');
}
