/**
 * Mechanism boost: how soon a server that has too many clients gives new ones to a booster, and whether one is lost on
 * the way. The server's load is its connections: the moment at which it crosses the mark is known to the client.
 */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Baton } from './lib/baton.ts';
import type { Round } from './lib/boost-switch-client.ts';
import { Boosting } from './lib/boosting.ts';
import type { Report } from './lib/result.ts';
import { median } from './lib/rounds.ts';

const CLIENT = fileURLToPath(new URL('./lib/boost-switch-client.js', import.meta.url));
const ROUNDS = 100;
/** Twice as many as make it too many: those that come before it has seen that fit as well. */
const CONNECTIONS = 400;
const ON_PERMILLE = 500;
const P99 = 0.99;
/** What the mechanism is to reach. */
const TARGET_MS = 100;

export async function boostSwitch(report: Report): Promise<void> {
  const baton = await Baton.up({
    name: 'b1',
    nodes: 1,
    boosters: 1,
    mechanism: 'local',
    set: [
      `limits.connections=${CONNECTIONS}`,
      `boost={ onPermille: ${ON_PERMILLE}, offPermille: 100 }`,
      'observe.serverTiming=true',
    ],
  });
  const { lab } = baton;
  const boosting = new Boosting(lab);
  const isIdle = async () => {
    const [engine] = (await lab.admin('a', '/api/status')).engines;
    const [booster] = (await lab.admin('x', '/api/status')).engines;
    return engine.connections + booster.connections === 0;
  };
  const held = (CONNECTIONS * ON_PERMILLE) / 1000;
  const client = lab.spawn('client', [process.execPath, CLIENT, baton.endpoint, String(held)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const rounds: Round[] = [];
  const lines = createInterface({ input: client.stdout! })[Symbol.asyncIterator]();
  for (let i = 0; i < ROUNDS; i++) {
    await boosting.put('off');
    while (!(await isIdle())) {
      // The client has closed its connections, and the node will have seen that soon.
    }
    await boosting.say('auto');
    client.stdin!.write('go\n');
    rounds.push(JSON.parse((await lines.next()).value as string));
  }
  client.kill('SIGKILL');
  boosting.end();
  const times = rounds.map(({ ms }) => ms).sort((a, b) => a - b);
  const sum = (of: (round: Round) => number) => rounds.reduce((total, round) => total + of(round), 0);
  const unit = 'ms';
  report({ name: 'boost-switch.p50', value: median(times), unit, baseline: TARGET_MS, target: '<= 1' });
  report({
    name: 'boost-switch.p99',
    value: times[Math.ceil(times.length * P99) - 1],
    unit,
    baseline: TARGET_MS,
    target: '<= 1',
  });
  report({
    name: 'boost-switch.lost',
    value: sum(({ lost }) => lost),
    unit: `of ${sum(({ opened }) => opened)} clients`,
    baseline: null,
    target: null,
  });
  baton.down();
}
