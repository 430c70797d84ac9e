/** A client behind a link with a smaller MTU than it knows of: every sender learns what the path lets through. */
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FlowStatus } from '../../../src/handoff/flow/flow-status.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Answer } from './response-reader.ts';
import { item, KIB, MIB, mix, Stand } from './support.ts';

const ASKER = fileURLToPath(new URL('./asker.js', import.meta.url));
const MTU = 1280;
/** One that needs a second packet behind its head, and one that fills the first window. */
const SIZES = [KIB, 16 * KIB, 0, 1, 64 * KIB + 1, MIB];
const HOSTS = ['anchor.test', 'clone.test', 'split.test', 'migrate.test', 'local.test'];
const OTHER_HOSTS = ['pre.test', 'keep.test', 'relay.test', 'drain.test'];
/** Less than the first timeout of a connection whose RTT is not known. */
const STALL_MS = 900;
const ADDRESSES = [
  { name: 'IPv4', own: '10.77.0.101', front: '10.77.0.104', hosts: [...HOSTS, ...OTHER_HOSTS] },
  { name: 'IPv6', own: 'fd77::101', front: 'fd77::104', hosts: HOSTS },
];

describe('a path with a small MTU', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'mtu',
      nodes: 4,
      mtu: MTU,
      sizes: SIZES,
      sites: (root) => [
        {
          name: 'keep',
          hosts: ['keep.test'],
          root,
          policy: 'hash',
          mechanism: 'clone',
          clone: { keep: true },
        },
      ],
      set: ['nodes.d.role=front', 'observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  /** The nodes' kernels forget what they know of the path: it is theirs for ten minutes. */
  async function forget(): Promise<void> {
    const { address, address6 } = stand.lab.plan.client;
    const script = [`-4 ${address}/32 via 10.77.0.254`, `-6 ${address6}/128 via fd77::254`].map(
      (route) => `set -- ${route}; ip $1 route del $2; ip $1 route add $2 $3 $4`,
    );
    await Promise.all(
      stand.lab.nodes.map(async ({ name }) => {
        const { code, stderr } = await stand.lab.exec(name, ['sh', '-ec', script.join('\n')]);
        assert.equal(code, 0, stderr);
      }),
    );
  }

  /** How often the router before the client has said that a packet is too big. */
  async function refused(): Promise<number> {
    const { IcmpOutDestUnreachs, Icmp6OutPktTooBigs } = await stand.lab.counters('router');
    return IcmpOutDestUnreachs + (Icmp6OutPktTooBigs ?? 0);
  }

  /** One connection, which asks when the test says so. */
  async function withAsker(
    address: string,
    work: (ask: (host: string, size: number) => Promise<Answer>) => Promise<void>,
  ): Promise<void> {
    const child = stand.lab.spawn('client', [process.execPath, ASKER, address], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    try {
      await work(async (host, size) => {
        child.stdin!.write(`${JSON.stringify(item(host, size))}\n`);
        const { value, done } = await answers.next();
        assert.ok(!done, `${host} ${size}: the connection has ended`);
        const answer = JSON.parse(value) as Answer;
        assert.equal(answer.problem, null, `${host} ${size}`);
        return answer;
      });
    } finally {
      child.stdin!.end();
    }
  }

  for (const { name, own, front, hosts: all } of ADDRESSES) {
    for (const [address, hosts] of [
      [own, all],
      [front, ['anchor.test', 'migrate.test']],
    ] as const)
      test(`${name}, ${address === front ? 'a front' : 'an owner'}: no mechanism stalls`, async () => {
        for (const host of hosts) {
          await forget();
          const heard = await refused();
          const items = mix(2 * SIZES.length, SIZES, [host]);
          const how = host === 'split.test' ? { each: true } : { pipeline: 3 };
          const report = await stand.runRight({ address, items, silenceMs: 4000, ...how });
          assert.ok((await refused()) > heard, `${host}: the path is too small for the first segments`);
          const slowest = report.tookMs.at(-1)!;
          assert.ok(slowest < STALL_MS, `${host}: ${slowest} ms`);
        }
      });

    test(`${name}: who sends next on a connection knows`, async () => {
      for (const host of ['anchor.test', 'clone.test', 'migrate.test']) {
        // Before the client connects: a socket begins with what its kernel knows, and a next sender with that.
        await forget();
        await withAsker(own, async (ask) => {
          const before = await refused();
          await ask(host, 16 * KIB);
          const heard = await refused();
          assert.ok(heard > before, host);
          const nodes = new Set<string>();
          for (const size of [16 * KIB, KIB, 64 * KIB + 1, MIB, 16 * KIB])
            nodes.add((await ask(host, size)).node);
          assert.equal(nodes.size, 3, host);
          assert.equal(await refused(), heard, `${host}: no more packets were too big`);
        });
      }
    });

    test(`${name}: half-pipes that rest begin with what others have learnt since`, async () => {
      await forget();
      await withAsker(own, async (ask) => {
        for (let i = 0; i < 3; i++) await ask('anchor.test', 0);
        await stand.until('the targets owe nothing', async () => {
          const flows = (await stand.lab.admin('a', '/api/flows')) as FlowStatus[];
          return flows.every(({ ranges }) => ranges.every(({ node }) => node === 'a'));
        });
        const opened = await stand.total('half_pipes_opened');
        await ask('anchor.test', 16 * KIB);
        const heard = await refused();
        const nodes = new Set<string>();
        for (let i = 0; i < 5; i++) nodes.add((await ask('anchor.test', 16 * KIB)).node);
        assert.equal(nodes.size, 3);
        assert.equal(await refused(), heard);
        assert.equal(await stand.total('half_pipes_opened'), opened + 1, 'the one that had learnt nothing');
      });
    });

    test(`${name}: nothing is left, and nobody was reset`, async () => {
      await stand.nothingLeft();
      await stand.noResets();
    });
  }
});
