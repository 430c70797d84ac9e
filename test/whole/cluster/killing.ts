/** What tests of a killed process share: a lab, a's clients of many kinds, and that every one of them hears an end. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { LabOptions } from '../../../src/tools/lab/plan.ts';
import { KIB, MIB, Stand } from './support.ts';
import type { Kind, Outcome, Watched } from './watcher.ts';

const WATCHER = fileURLToPath(new URL('./watcher.js', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('./upstream.js', import.meta.url));
/** The next process tells them once more 15 s after its start. */
const END_LIMIT_MS = 20_000;
export const ADDRESSES = {
  a: ['10.77.0.101', 'fd77::101'],
  b: ['10.77.0.102', 'fd77::102'],
  /** A front's, where there is one. */
  d: ['10.77.0.104', 'fd77::104'],
};
const LARGE = 16 * MIB;
const UPSTREAM_PORT = 8080;
/** What is answered by one node only. */
const only = (node: string) => ({
  name: 'class',
  rules: [{ path: '/**', nodes: [node] }],
  fallback: 'hash',
});
const MECHANISMS = ['anchor', 'relay', 'clone', 'split'];

function sites(root: string): object[] {
  const site = (name: string, fields: object) => ({ name, hosts: [`${name}.killed.test`], ...fields });
  const fromB = { root, policy: only('b') };
  const upstream = `127.0.0.1:${UPSTREAM_PORT}`;
  return [
    ...MECHANISMS.map((mechanism) => site(mechanism, { ...fromB, mechanism })),
    site('keep', { ...fromB, mechanism: 'clone', clone: { keep: true } }),
    site('moves', { root, policy: only('a'), mechanism: 'migrate' }),
    ...['anchor', 'relay'].map((mechanism) =>
      site(`upstream-${mechanism}`, { upstream, policy: only('b'), mechanism }),
    ),
    site('upstream-local', { upstream, policy: 'local' }),
    site('here', { root, policy: 'local', mechanism: 'local' }),
  ].map((site) => ({ ...site, name: `killed-${site.name}` }));
}

/** Clients whose anchor is a, most with a response of another node; and those that have moved from b to a. */
export function clients(): Watched[] {
  const all: Watched[] = [];
  const host = (name: string) => `${name}.killed.test`;
  const ask = (kind: Kind, size: number, addresses: readonly string[], ...names: string[]) => {
    for (const address of addresses)
      for (const name of names) all.push({ address, host: host(name), kind, size });
  };
  for (const kind of ['reads', 'pauses'] as const) {
    ask(kind, LARGE, ADDRESSES.a, ...MECHANISMS, 'keep');
    ask(kind, LARGE, ADDRESSES.b, 'moves');
  }
  // Those that have moved here, and were then handed off.
  for (const address of ADDRESSES.b)
    for (const [kind, size] of [
      ['reads', LARGE],
      ['pauses', LARGE],
      ['rests', KIB],
    ] as const)
      for (const name of ['anchor', 'clone'])
        all.push({ address, host: host(name), kind, size, first: host('moves') });
  // With so much in its queue a connection does not move.
  ask('pipelines', LARGE, ADDRESSES.a, ...MECHANISMS, 'keep');
  // With split the response ends the connection.
  ask('rests', KIB, ADDRESSES.a, 'anchor', 'relay', 'clone', 'keep');
  ask('rests', KIB, ADDRESSES.b, 'moves');
  for (const kind of ['uploads', 'waits'] as const)
    ask(kind, 0, ADDRESSES.a, 'upstream-anchor', 'upstream-relay', 'upstream-local');
  return all;
}

/** Clients that have come through the front to a; those to whom another node answers leave. */
export function clientsOfFront(): Watched[] {
  const sizes = { reads: LARGE, pauses: LARGE, rests: KIB };
  return ADDRESSES.d.flatMap((address) =>
    (['reads', 'pauses', 'rests'] as const).flatMap((kind) =>
      ['anchor', 'relay', 'clone', 'keep'].map((name) => {
        const first = 'here.killed.test';
        return { address, host: `${name}.killed.test`, kind, size: sizes[kind], first, firstNode: 'a' };
      }),
    ),
  );
}

/** Why node a has ended connections by itself, by its log. */
function aborted({ lab }: Stand): string {
  const lines = readFileSync(join(lab.plan.directory, 'a.log'), 'utf8').split('\n');
  return lines
    .filter((line) => line.includes('connection aborted'))
    .slice(-10)
    .join('\n');
}

/** A lab whose node a is to be killed. */
export class Killing {
  readonly stand: Stand;
  readonly #servers: ChildProcess[] = [];

  private constructor(stand: Stand) {
    this.stand = stand;
  }

  static async up({ set = [], ...options }: LabOptions): Promise<Killing> {
    const fixed = { rate: '200mbit', sizes: [KIB, LARGE], sites };
    // A killed process's links break at once. Before that, on a busy machine, a target's word may take long, behind what
    // it has for all these clients; and whoever is taken for failed in the middle of a response ends the connection.
    const patience = ['timeouts.peerMs=10000', 'timeouts.setupMs=5000'];
    const settings = ['observe.accessLog=off', ...patience, ...set];
    const killing = new Killing(await Stand.up({ ...fixed, ...options, set: settings }));
    await killing.#startUpstreams();
    return killing;
  }

  async #startUpstreams(): Promise<void> {
    for (const { name } of this.stand.lab.nodes) {
      const server = this.stand.lab.spawn(name, [process.execPath, UPSTREAM, String(UPSTREAM_PORT)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      this.#servers.push(server);
      await once(server.stdout!, 'data');
    }
  }

  down(): void {
    for (const server of this.#servers) server.kill('SIGKILL');
    this.stand.down();
  }

  /** A client that says `ready`, and at its end, which may be asked for, what it has seen. */
  async observe(...argv: string[]): Promise<{ ended: Promise<string>; end(): void }> {
    const child = this.stand.lab.spawn('client', [process.execPath, ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const line = async () => (await lines.next()).value as string;
    assert.equal(await line(), 'ready');
    return { ended: line(), end: () => child.exitCode === null && child.stdin!.write('end\n') };
  }

  /** What a's router has sent elsewhere, by rule. */
  async elsewhere(): Promise<string> {
    const { inherited, spread, diverted } = (await this.stand.lab.admin('a', '/api/status')).router;
    return JSON.stringify({ inherited, spread, diverted });
  }

  /** What the kernels of a and of the client still have of connections to port 80. */
  async #sockets(): Promise<string> {
    const { lab } = this.stand;
    const ports = '( sport = :80 or dport = :80 )';
    const of = async (host: string): Promise<string> =>
      `${host}:\n${(await lab.exec(host, ['ss', '-tinoH', ports])).stdout}`;
    return `${await of('a')}${await of('client')}`;
  }

  /** Kills a while they are at it. Every one of them gets all bytes, or right ones and an end. */
  async killDuring(job: Watched[], then: () => Promise<unknown>): Promise<number> {
    const watcher = await this.observe(WATCHER, JSON.stringify(job));
    const killedAtMs = Date.now();
    await this.stand.kill('a');
    await then();
    await Promise.race([watcher.ended, delay(killedAtMs + END_LIMIT_MS - Date.now())]);
    const sockets = await this.#sockets();
    watcher.end();
    const outcomes = JSON.parse(await watcher.ended) as Outcome[];
    const wrong = outcomes.filter(({ wrongAt }) => wrongAt >= 0);
    assert.deepEqual(wrong, [], 'wrong bytes');
    // On a machine with much else to do a connection may not have moved; then b has it.
    const hit = outcomes.filter(
      ({ address, host, node, firstNode }) =>
        ADDRESSES.a.includes(address) || (host.startsWith('moves') ? node : firstNode) === 'a',
    );
    const direct = hit.filter(({ address }) => !ADDRESSES.d.includes(address));
    const throughFront = job.filter(({ address }) => ADDRESSES.d.includes(address));
    const expected = (job.length - throughFront.length) * 0.8;
    assert.ok(expected === 0 || direct.length > expected, `${direct.length} of ${expected}`);
    assert.ok(throughFront.length === 0 || hit.length > direct.length, 'the front has given some to a');
    const silent = hit.filter(({ endedAtMs }) => endedAtMs === 0);
    assert.deepEqual(silent, [], `no end within ${END_LIMIT_MS} ms; sockets:\n${sockets}`);
    const early = hit.filter(({ endedAtMs }) => endedAtMs < killedAtMs);
    assert.deepEqual(early, [], `ended before the kill: ${aborted(this.stand)}`);
    return killedAtMs;
  }
}
