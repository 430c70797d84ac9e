/**
 * The time that a handoff adds to a request, against the time that HAProxy adds: one request at a time over a
 * kept-alive connection, by wrk and by a client that times each request; and by that client over 32 connections at
 * once, where wrk's percentiles, corrected for what it would have liked to send meanwhile, say more about the longest
 * pause than about requests; there by mechanism auto as well, which is what users have. The response is one segment
 * (nginx: with tcp_nopush), so the time to its end is that to its first byte.
 */
import { Baton } from './lib/baton.ts';
import { Peers } from './lib/peers.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { times } from './lib/times.ts';
import type { TimesReport } from './lib/times-client.ts';
import { type Load, load } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 5;
const NODES = ['a', 'b'];
const PERCENTILES: ReadonlyArray<readonly [string, (round: Load) => number]> = [
  ['p50', (round) => round.p50Us],
  ['p99', (round) => round.p99Us],
];
/** Requests at once, of the client that times each. */
const CONNECTIONS = [1, 32];
const TIMED: ReadonlyArray<readonly [string, (round: TimesReport) => number]> = [
  ['p50', (round) => round.p50Us],
  ['p99', (round) => round.p99Us],
  ['p999', (round) => round.p999Us],
];

export async function latency(report: Report): Promise<void> {
  const site = new Site(NODES);
  const [onA, onB] = NODES.map((node) => site.path('1k', node));
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root });
  const auto = await Baton.up({ name: 'b3', nodes: NODES.length, root: site.root, mechanism: 'auto' });
  const peers = await Peers.up({
    name: 'b2',
    nodes: NODES.length,
    root: site.root,
    servers: ['b'],
    proxies: true,
  });
  const one = (path: string) => ({ paths: [path], connections: 1, seconds: SECONDS });
  const [local, handedOff, byAuto, nginx, haproxy] = await alternate(
    [
      () => load(baton, one(onA)),
      () => baton.handingOff(() => load(baton, one(onB))),
      () => auto.handingOff(() => load(auto, one(onB))),
      () => load(peers.noPushServers.get('b')!, one(onB)),
      () => load(peers.haproxy, one(onB)),
    ],
    ROUNDS,
  );
  for (const [name, of] of PERCENTILES) {
    const [localUs, handedOffUs, autoUs, nginxUs, haproxyUs] = [local, handedOff, byAuto, nginx, haproxy].map(
      (rounds) => medianOf(rounds, of),
    );
    report({ name: `latency.direct.${name}`, value: localUs, unit: 'us', baseline: nginxUs, target: null });
    report({
      name: `latency.handoff.${name}`,
      value: handedOffUs,
      unit: 'us',
      baseline: haproxyUs,
      target: null,
    });
    report({ name: `latency.auto.${name}`, value: autoUs, unit: 'us', baseline: haproxyUs, target: null });
    report({
      name: `latency.added.${name}`,
      value: handedOffUs - localUs,
      unit: 'us',
      baseline: haproxyUs - nginxUs,
      target: '<= 1',
    });
  }
  for (const connections of CONNECTIONS) {
    const job = (path: string) => ({ paths: [path], connections, seconds: SECONDS });
    const [local, handedOff, byAuto, nginx, haproxy] = await alternate(
      [
        () => times(baton, job(onA)),
        () => baton.handingOff(() => times(baton, job(onB))),
        () => auto.handingOff(() => times(auto, job(onB))),
        () => times(peers.noPushServers.get('b')!, job(onB)),
        () => times(peers.haproxy, job(onB)),
      ],
      ROUNDS,
    );
    for (const [name, of] of TIMED) {
      const [value, handed, chosen, direct, proxied] = [local, handedOff, byAuto, nginx, haproxy].map(
        (rounds) => medianOf(rounds, of),
      );
      const figure = `latency.timed.${connections}`;
      report({ name: `${figure}.direct.${name}`, value, unit: 'us', baseline: direct, target: null });
      const target = name === 'p99' ? '<= 1' : null;
      const [unit, baseline] = ['us', proxied];
      report({ name: `${figure}.handoff.${name}`, value: handed, unit, baseline, target });
      report({ name: `${figure}.auto.${name}`, value: chosen, unit, baseline, target });
    }
  }
  baton.down();
  auto.down();
  peers.down();
}
