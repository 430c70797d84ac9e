/** The thread in which policy modules are tried: each is imported, made, and asked for a plain request once. */
import { parentPort, workerData } from 'node:worker_threads';
import type { SiteConfig } from '../../base/config/config.ts';
import { DEFAULT_HEAD_LIMITS, parseRequestHead, type RequestHead } from '../../protocol/http/request.ts';
import { unknownLoad } from '../load.ts';
import { createPolicy, importPolicies, PolicyError } from './create.ts';
import type { Candidate } from './policy.ts';
import type { TrialMessage } from './trial.ts';

const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
const NO_MEMORY = { holders: () => [], chosen: () => {} };

const say = (message: TrialMessage): void => parentPort!.postMessage(message);

async function tryOne(site: SiteConfig): Promise<void> {
  const factories = await importPolicies([site]);
  const context = { site: site.name, sizeOf: () => null };
  // Nonsense that it answers is not the end: then the request is served where it came in.
  const policy = createPolicy(site, factories, context, NO_MEMORY, () => {});
  const candidates = Object.keys(site.content).map(
    (name, index): Candidate => ({ index, name, load: unknownLoad() }),
  );
  if (candidates.length === 0) return;
  const head = parseRequestHead(REQUEST, 0, REQUEST.length, DEFAULT_HEAD_LIMITS) as RequestHead;
  policy.choose(head, candidates, 0);
}

try {
  for (const site of workerData as SiteConfig[]) {
    const { policy } = site;
    if (typeof policy === 'string' || policy.kind !== 'module') continue;
    say({ type: 'trying', file: policy.file });
    await tryOne(site);
  }
  say({ type: 'done' });
} catch (error) {
  if (!(error instanceof PolicyError)) throw error;
  say({ type: 'failed', file: error.file, detail: error.detail });
}
