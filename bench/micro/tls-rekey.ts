/**
 * What `listen.tlsRekey` costs: requests over kept TLS connections by mechanism anchor, with it and without. The worst
 * case is that two nodes answer in turn; requests for one node alone need no further key. `node dist/bench/micro/tls-rekey.js`.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Baton } from '../lib/baton.ts';
import { cleanUpAtExit, scratchDirectory } from '../lib/cleanup.ts';
import { cpuNs } from '../lib/processor.ts';
import { alternate, medianOf } from '../lib/rounds.ts';
import { Site } from '../lib/site.ts';

const NODES = ['a', 'b', 'c'];
const KINDS = { 'two targets': ['b', 'c'], 'a target and the anchor': ['b', 'a'], 'one target': ['b'] };
const SIZES = ['1k', '64k', '1m'] as const;
const WRK = ['wrk', '-t1', '-c16', '-d1s', '-s'];
const TIMEOUT_MS = 20_000;

interface Round {
  /** Of all nodes, for a request. */
  readonly cpuUs: number;
  readonly updates: number;
}

const script = join(scratchDirectory(), 'in-turn.lua');

function ask(paths: readonly string[]): void {
  const list = paths.map((path) => `"${path}"`).join(', ');
  writeFileSync(
    script,
    `local requests, turn = {}, 0
function init() for i, path in ipairs({ ${list} }) do requests[i] = wrk.format(nil, path) end end
function request() turn = turn % #requests + 1 return requests[turn] end
`,
  );
}

async function round(cluster: Baton, path: string): Promise<Round> {
  const spentNs = () => [...cluster.processes.values()].reduce((sum, pid) => sum + cpuNs(pid), 0);
  const updates = async () => (await cluster.lab.admin('a', '/api/status')).counters.tls_key_updates;
  const before = [spentNs(), await updates()];
  const argv = [...WRK, script, `https://${cluster.endpoint}${path}`];
  const { stdout } = await cluster.lab.exec('client', argv, { timeoutMs: TIMEOUT_MS });
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  if (!(requests > 0) || /Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout);
  const cpuUs = (spentNs() - before[0]) / 1000 / requests;
  return { cpuUs, updates: ((await updates()) - before[1]) / requests };
}

cleanUpAtExit();
const site = new Site(NODES);
const up = (name: string, rekey: boolean) =>
  Baton.up({
    ...{ name, nodes: NODES.length, root: site.root, mechanism: 'anchor', tls: true },
    set: [`listen.tlsRekey=${rekey}`],
  });
const clusters = [await up('b1', true), await up('b2', false)];
for (const size of SIZES) {
  for (const [kind, nodes] of Object.entries(KINDS)) {
    const paths = nodes.map((node) => site.path(size, node));
    ask(paths);
    const [rekeyed, plain] = await alternate(clusters.map((cluster) => () => round(cluster, paths[0])));
    const [ours, theirs] = [rekeyed, plain].map((rounds) => medianOf(rounds, ({ cpuUs }) => cpuUs));
    const updates = medianOf(rekeyed, (one) => one.updates).toFixed(2);
    const times = `${ours.toFixed(1)} us a request, without ${theirs.toFixed(1)} us: ${(ours / theirs).toFixed(2)}`;
    console.log(`${size}, ${kind}: ${times}; KeyUpdates a request: ${updates}`);
  }
}
for (const cluster of clusters) cluster.down();
