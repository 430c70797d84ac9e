/**
 * Policy modules are tried before anybody depends on them, in a thread of their own: a module whose import or factory
 * never returns, or whose `choose` does not for a plain request, ends there with its thread.
 */
import { Worker } from 'node:worker_threads';
import type { SiteConfig } from '../../base/config/config.ts';
import { PolicyError } from './create.ts';

/** How long the trials of all modules of a configuration may take together. */
const TRIAL_TIMEOUT_MS = 5000;

/** Exit code of a thread that has nothing left to do while a top-level await waits. */
const UNSETTLED_AWAIT = 13;

/** What the trial's thread says: the module it turns to, then how it went. */
export type TrialMessage =
  | { readonly type: 'trying'; readonly file: string }
  | { readonly type: 'failed'; readonly file: string; readonly detail: string }
  | { readonly type: 'done' };

/** Makes every policy that is a module once. Rejects with PolicyError. */
export async function tryPolicies(
  sites: readonly SiteConfig[],
  timeoutMs: number = TRIAL_TIMEOUT_MS,
): Promise<void> {
  const modules = sites.filter(({ policy }) => typeof policy === 'object' && policy.kind === 'module');
  if (modules.length === 0) return;
  const worker = new Worker(new URL('./trial-worker.js', import.meta.url), { workerData: modules });
  try {
    await outcome(worker, timeoutMs);
  } finally {
    await worker.terminate();
  }
}

function outcome(worker: Worker, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let file = '';
    const fail = (detail: string) => reject(new PolicyError(file, detail));
    const timer = setTimeout(
      () => fail(`does not return: it has not been loaded, and asked once, within ${timeoutMs / 1000} s`),
      timeoutMs,
    );
    worker.on('message', (message: TrialMessage) => {
      if (message.type === 'done') resolve();
      else file = message.file;
      if (message.type === 'failed') fail(message.detail);
    });
    worker.on('error', (error) => fail(error.message));
    worker.on('exit', (code) => {
      clearTimeout(timer);
      if (code === UNSETTLED_AWAIT) fail('does not return: it awaits something that never comes');
      else fail('ended the thread that it was tried in');
    });
  });
}
