/**
 * One plain engine against nginx with one worker: static files over kept-alive connections. nginx is measured with
 * tcp_nopush off and on, and counts with whichever is faster for the size.
 *
 * Over TLS there is one nginx, as tcp_nopush changes nothing there, and fewer clients, whose handshakes are part of a
 * round. Handshakes by themselves are measured, too, full ones and those by a ticket. They cost the client as much as the server and
 * more, so the figure is what the server could do with a core for itself: handshakes over the processor time of its
 * process. A connection and a request of 1 KB are part of each.
 */
import { Baton } from './lib/baton.ts';
import { besideNginx } from './lib/beside-nginx.ts';
import { handshakes } from './lib/handshakes.ts';
import { Peers } from './lib/peers.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import type { Server } from './lib/server.ts';
import { Site, type SizeName } from './lib/site.ts';

const ROUNDS = 5;
const LOAD = {
  direct: { connections: 64, seconds: 1 },
  'tls-direct': { connections: 16, seconds: 2 },
};
const HANDSHAKES_SECONDS = 2;
/** Not counted: of its first ones a process of ours takes twice the time, until all of their code is compiled. */
const WARM_UP_HANDSHAKES = 4000;
const HANDSHAKES_AT_ONCE = 8;
const TARGETS: Readonly<Record<'direct' | 'tls-direct', ReadonlyArray<readonly [SizeName, Target]>>> = {
  direct: [
    ['1k', '>= 1.2'],
    ['16k', '>= 1'],
    ['256k', '>= 1'],
    ['10m', '>= 1'],
  ],
  'tls-direct': [
    ['1k', '>= 1.1'],
    ['16k', '>= 1'],
    ['256k', '>= 1'],
    ['10m', '>= 1'],
  ],
};

async function compareHandshakes(report: Report, servers: readonly Server[], path: string): Promise<void> {
  for (const kind of ['full', 'resumed'] as const) {
    const job = {
      path,
      seconds: HANDSHAKES_SECONDS,
      workers: HANDSHAKES_AT_ONCE,
      resumed: kind === 'resumed',
    };
    for (let done = 0; done < WARM_UP_HANDSHAKES; ) done += (await handshakes(servers[0], job)).count;
    const [ours, theirs] = await alternate(
      servers.map((server) => () => handshakes(server, job)),
      ROUNDS,
    );
    report({
      name: `tls-direct.handshakes.${kind}`,
      value: medianOf(ours, (round) => round.perCpuSecond),
      unit: 'handshakes/s of processor time',
      baseline: medianOf(theirs, (round) => round.perCpuSecond),
      target: '>= 0.9',
    });
    report({
      name: `tls-direct.handshakes.${kind}.wall`,
      value: medianOf(ours, (round) => round.perSecond),
      unit: 'handshakes/s',
      baseline: medianOf(theirs, (round) => round.perSecond),
      target: null,
    });
  }
}

export async function direct(report: Report, name: 'direct' | 'tls-direct'): Promise<void> {
  const tls = name === 'tls-direct';
  const site = new Site(['a']);
  const paths = TARGETS[name].map(([size]) => site.path(size, 'a'));
  const baton = await Baton.up({ name: 'b1', nodes: 1, root: site.root, tls });
  const { certificates } = baton.lab.plan;
  const shape = { nodes: 1, root: site.root, servers: ['a'], proxies: false };
  const peers = await Peers.up({ ...shape, name: 'b2', certificates });
  const files = peers.servers.get('a')!;
  const nginx = tls ? [files] : [files, peers.noPushServers.get('a')!];
  for (const [index, [size, target]] of TARGETS[name].entries()) {
    const options = { ...LOAD[name], paths: [paths[index]] };
    await besideNginx(report, { name: `${name}.${size}`, target, baton, nginx, options, rounds: ROUNDS });
  }
  if (tls) await compareHandshakes(report, [baton, files], paths[0]);
  baton.down();
  peers.down();
}
