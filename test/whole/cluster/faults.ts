/** Clients of cluster tests that something happens to in the middle, and what the cluster says of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { FlowStatus } from '../../../src/handoff/flow/flow-status.ts';
import { distance } from '../../../src/kernel/tcp/sequence.ts';
import type { Job, Report } from './client.ts';
import type { Stand } from './support.ts';

/** Runs a client; `fault` is called once for each mark that it passes, one after the other: it reads on when that is done. */
export async function withFaults(
  stand: Stand,
  job: Job,
  fault: (mark: number) => Promise<unknown>,
): Promise<Report> {
  const child = stand.lab.spawn('client', stand.clientArgv(job), { stdio: ['pipe', 'pipe', 'pipe'] });
  let [text, errors] = ['', ''];
  let faults: Promise<unknown> = Promise.resolve();
  child.stdout!.on('data', (bytes) => {
    text += bytes;
  });
  child.stdin!.on('error', () => {}); // It has ended: its exit says how.
  child.stderr!.on('data', (bytes) => {
    errors += bytes;
    for (let end = errors.indexOf('\n'); end >= 0; end = errors.indexOf('\n')) {
      const [word, mark] = errors.slice(0, end).split(' ');
      errors = errors.slice(end + 1);
      if (word === 'at') faults = faults.then(() => fault(Number(mark))).then(() => child.stdin!.write('\n'));
    }
  });
  try {
    const [code] = await once(child, 'close');
    await faults;
    assert.equal(code, 0, `the client ended with ${code}: ${errors}`);
    return JSON.parse(text) as Report;
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  }
}

/**
 * The node that sends on the first flow of node a, once it is known of every flow what is sent on it; a itself only
 * when `own` says so. One that has said to be done sends as well, until its client has all.
 */
export async function sender(stand: Stand, own = false): Promise<string> {
  let name = '';
  await stand.until('a node sends', async () => {
    const answer = await stand.lab.admin('a', '/api/flows');
    const flows = (Array.isArray(answer) ? answer : answer.flows) as FlowStatus[];
    const open = flows.filter(({ role, state }) => role === 'anchor' && state !== 'closing');
    const away = open.filter(({ state }) => state === 'away');
    const flow = away[0] ?? open[0];
    if (flow === undefined) return false;
    const owed = flow.ranges.filter(
      ({ node, end }) => node !== 'a' && (end === null || distance(end, flow.acknowledged) < 0),
    );
    name = (owed.at(-1) ?? flow.ranges.at(-1))?.node ?? '';
    return name === 'a' ? own : name !== '' && [flow, ...away].every(({ identified }) => identified);
  });
  return name;
}

/** Asked later: whether something has ended, in whatever way. */
export function whetherOver(running: Promise<unknown>): () => boolean {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  running.then(over, over);
  return () => isOver;
}

export const IN_TIME_ROUNDS = 3;

/** Requests that these nodes had given to others, and that came back. */
async function cameBack(stand: Stand, nodes: readonly string[]): Promise<number> {
  const answers = await Promise.all(nodes.map((node) => stand.lab.admin(node, '/api/status')));
  const counts = answers.map(({ counters }) => counters.handoffs_rejected + counters.handoffs_timed_out);
  return counts.reduce((sum, count) => sum + count);
}

/**
 * What `run` gives when whatever these nodes give to others is answered there. On a busy machine something may come
 * there too late (125 ms), and somebody else answers it, as he should: then it is run once more.
 */
export async function inTime<T>(
  stand: Stand,
  nodes: readonly string[],
  run: (round: number) => Promise<T>,
): Promise<T> {
  for (let round = 0; round < IN_TIME_ROUNDS; round++) {
    const before = await cameBack(stand, nodes);
    const result = await run(round);
    if ((await cameBack(stand, nodes)) === before) return result;
  }
  assert.fail(`in each of ${IN_TIME_ROUNDS} rounds something came too late`);
}

export async function metric(stand: Stand, name: string, node = 'a'): Promise<number> {
  const text = await stand.lab.adminText(node, '/metrics');
  const lines = text.split('\n').filter((line) => line.startsWith(`baton_${name}`));
  assert.ok(lines.length > 0, `no metric ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

export const continued = (stand: Stand) => metric(stand, 'handoffs_continued');

/** Waits until the anchor has its links again. */
export function together(stand: Stand): Promise<void> {
  return stand.until('the links are up', async () => {
    const { engines } = await stand.lab.admin('a', '/api/status');
    return engines[0].links.filter(({ up }: { up: boolean }) => up).length === 2;
  });
}

export function assertRight(report: Report, job: Job): void {
  assert.deepEqual(report.failures, [], `marks ${job.marks}`);
  assert.equal(report.answered, job.items.length * (job.connections ?? 1));
}

/** The target that sends when the client passes its mark is killed, and comes back when the client has all. */
export async function killed(stand: Stand, job: Job): Promise<void> {
  let name = '';
  const report = await withFaults(stand, job, async () => {
    name = await sender(stand);
    await stand.kill(name);
  });
  assertRight(report, job);
  await stand.start(name);
  await together(stand);
}

/** It is stopped (alive, silent) until the client has all. */
export async function stopped(stand: Stand, job: Job): Promise<void> {
  let name = '';
  const report = await withFaults(stand, job, async () => {
    name = await sender(stand);
    stand.lab.signal(name, 'SIGSTOP');
  });
  stand.lab.signal(name, 'SIGCONT');
  assertRight(report, job);
  await together(stand);
}

/** It is told to stop: it hands over and ends, before the client has all. The client hears no reset. */
export async function toldToStop(stand: Stand, job: Job): Promise<void> {
  const resets = async () => (await stand.lab.counters('client')).TcpEstabResets;
  const before = await resets();
  let name = '';
  let serving = false;
  const report = await withFaults(stand, job, async () => {
    name = await sender(stand);
    await stand.terminate(name);
    serving = (await sender(stand)) !== name;
  });
  assertRight(report, job);
  assert.equal(await resets(), before, 'the client heard no reset');
  assert.ok(serving, 'another node sends after it has ended');
  await stand.start(name);
  await together(stand);
}
