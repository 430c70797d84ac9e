/**
 * The time that a handoff adds to a request, against the time that HAProxy adds: one request at a time over a
 * kept-alive connection. The response is one segment (nginx: with tcp_nopush), so the time to its end, which wrk measures, is that to its
 * first byte.
 */
import { Baton } from './lib/baton.ts';
import { Peers } from './lib/peers.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 5;
const NODES = ['a', 'b'];
const PERCENTILES: ReadonlyArray<readonly [string, (round: Load) => number]> = [
  ['p50', (round) => round.p50Us],
  ['p99', (round) => round.p99Us],
];

export async function latency(report: Report): Promise<void> {
  const site = new Site(NODES);
  const [onA, onB] = NODES.map((node) => site.path('1k', node));
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root });
  const peers = await Peers.up({
    name: 'b2',
    nodes: NODES.length,
    root: site.root,
    servers: ['b'],
    proxies: true,
  });
  const one = (path: string) => ({ paths: [path], connections: 1, seconds: SECONDS });
  const [local, handedOff, nginx, haproxy] = await alternate(
    [
      () => load(baton, one(onA)),
      () => baton.handingOff(() => load(baton, one(onB))),
      () => load(peers.noPushServers.get('b')!, one(onB)),
      () => load(peers.haproxy, one(onB)),
    ],
    ROUNDS,
  );
  for (const [name, of] of PERCENTILES) {
    const [localUs, handedOffUs, nginxUs, haproxyUs] = [local, handedOff, nginx, haproxy].map((rounds) =>
      medianOf(rounds, of),
    );
    report({ name: `latency.direct.${name}`, value: localUs, unit: 'us', baseline: nginxUs, target: null });
    report({
      name: `latency.handoff.${name}`,
      value: handedOffUs,
      unit: 'us',
      baseline: haproxyUs,
      target: null,
    });
    report({
      name: `latency.added.${name}`,
      value: handedOffUs - localUs,
      unit: 'us',
      baseline: haproxyUs - nginxUs,
      target: '<= 1',
    });
  }
  baton.down();
  peers.down();
}
