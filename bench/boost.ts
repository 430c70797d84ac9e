/**
 * Mechanism boost: what a request costs its origin, in processor time of its process and in packets, when a booster has
 * the client, and when it has the client itself. Small documents, on kept connections and on one for each request.
 *
 * The kernel's work for a packet is charged to whoever sent it (lib/processor.ts), so the packets are counted as well.
 */
import { Baton } from './lib/baton.ts';
import { Boosting } from './lib/boosting.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

const SECONDS = 2;
const CONNECTIONS = 32;
const SIZES: readonly SizeName[] = ['1k', '10k'];

interface Packets {
  readonly received: number;
  readonly sent: number;
}

interface Measured extends Load {
  readonly packets: Packets;
}

const cpu = ({ cpuNs, requests }: Measured): number => cpuNs.a / 1000 / requests;
const received = ({ packets, requests }: Measured): number => packets.received / requests;
const sent = ({ packets, requests }: Measured): number => packets.sent / requests;

export async function boost(report: Report): Promise<void> {
  const site = new Site(['a']);
  const baton = await Baton.up({
    name: 'b1',
    nodes: 1,
    boosters: 1,
    mechanism: 'local',
    root: site.root,
  });
  const { lab } = baton;
  const boosting = new Boosting(lab);
  const packets = async (): Promise<Packets> => {
    const { stdout } = await lab.exec('a', ['cat', '/proc/net/dev']);
    const fields = stdout
      .split('\n')
      .find((line) => line.trim().startsWith('eth0:'))!
      .split(':')[1];
    const [, rx, , , , , , , , tx] = fields.trim().split(/\s+/).map(Number);
    return { received: rx, sent: tx };
  };
  for (const size of SIZES) {
    for (const close of [false, true]) {
      const paths = [site.path(size, 'a')];
      const options = { paths, connections: CONNECTIONS, seconds: SECONDS, close };
      const side = (mode: 'on' | 'off') => async (): Promise<Measured> => {
        await boosting.put(mode);
        const before = await packets();
        const measured = await load(baton, options);
        const after = await packets();
        const grown = { received: after.received - before.received, sent: after.sent - before.sent };
        return { ...measured, packets: grown };
      };
      const [boosted, direct] = await alternate([side('on'), side('off')]);
      const name = `boost.${size}.${close ? 'each' : 'kept'}`;
      const figures = [
        ['cpu', 'us/request', cpu],
        ['received', 'packets/request', received],
        ['sent', 'packets/request', sent],
      ] as const;
      for (const [what, unit, of] of figures)
        report({
          name: `${name}.${what}`,
          value: medianOf(boosted, of),
          unit,
          baseline: medianOf(direct, of),
          target: null,
        });
      report({
        name: `${name}.rate`,
        value: medianOf(boosted, ({ requestsPerSecond }) => requestsPerSecond),
        unit: 'requests/s',
        baseline: medianOf(direct, ({ requestsPerSecond }) => requestsPerSecond),
        target: null,
      });
    }
  }
  boosting.end();
  baton.down();
}
