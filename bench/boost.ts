/**
 * Mechanism boost: what a request costs its origin, in processor time and in packets, step by step as in the web
 * booster's paper, under SURGE's users at three levels. Each step is compared with the same server that has the same
 * users itself.
 *
 *   new     a connection for each request, as in the paper
 *   kept    each user keeps one
 */
import { type BenchOptions, named } from './lib/options.ts';
import type { Figure, Report } from './lib/result.ts';
import { median } from './lib/rounds.ts';
import {
  type RequestCost,
  SERVERS,
  type ServerName,
  STEPS,
  type StepName,
  SurgeStand,
} from './lib/surge-stand.ts';

const KINDS = ['new', 'kept'] as const;
type Kind = (typeof KINDS)[number];
/** A tenth of the paper's. */
const USERS = [120, 240, 360];
const SECONDS = 3;
const ROUNDS = 1;
/** Of each step: until its code is compiled, documents are in the cache and the upstream's connections are there. */
const WARM_SECONDS = 4;

/** The paper's: its section 5.1, of its server without and with the packet cache, and with all; and its table 1. */
const PUBLISHED_CPU: Partial<Record<StepName, number>> = { cache: 0.75, booster: 1 / 3 };
const PUBLISHED_RECEIVED = 1.41 / 9.41;
const PUBLISHED_SENT = 9.31 / 12.9;
/** Packets that the origin may have at most for a request. */
const MOST_RECEIVED = 1;
const MOST_SENT = 9.31;

/** By step: of each level, and of the packets on the wire. */
type Costs = ReadonlyMap<StepName, { readonly levels: RequestCost[]; readonly onTheWire: RequestCost }>;
type Quantity = keyof RequestCost;

export async function boost(report: Report, options: BenchOptions): Promise<void> {
  const servers = named('server', Object.keys(SERVERS) as ServerName[], options.systems);
  const { users = USERS } = options;
  const stand = await SurgeStand.up(servers);
  for (const server of servers) {
    for (const kind of named('kind', KINDS, options.kinds)) {
      const costs = await measure(stand, server, kind, users, options);
      for (const step of STEPS) {
        tellTime(report, `boost.${server}.${kind}`, step, users, costs);
        tellPackets(report, `boost.${server}.${kind}`, step, costs);
      }
    }
  }
  stand.down();
}

async function measure(
  stand: SurgeStand,
  server: ServerName,
  kind: Kind,
  users: readonly number[],
  { seconds = SECONDS, rounds = ROUNDS }: BenchOptions,
): Promise<Costs> {
  const close = kind === 'new';
  const run = (step: StepName, level: number, duration = seconds) =>
    stand.run(server, step, { users: level, seconds: duration, close });
  const most = Math.max(...users);
  for (const step of STEPS) await run(step, most, WARM_SECONDS);
  const levels = new Map(STEPS.map((step): [StepName, RequestCost[]] => [step, []]));
  for (const level of users) {
    const found = new Map(STEPS.map((step): [StepName, RequestCost[]] => [step, []]));
    for (let round = 0; round < rounds; round++)
      for (const step of STEPS) found.get(step)!.push(await run(step, level));
    for (const step of STEPS) levels.get(step)!.push(medians(found.get(step)!));
  }
  stand.countOnTheWire(true);
  const costs = new Map<StepName, { levels: RequestCost[]; onTheWire: RequestCost }>();
  for (const step of STEPS) costs.set(step, { levels: levels.get(step)!, onTheWire: await run(step, most) });
  stand.countOnTheWire(false);
  return costs;
}

function medians(rounds: readonly RequestCost[]): RequestCost {
  const names = Object.keys(rounds[0]) as Quantity[];
  const entries = names.map((name) => [name, median(rounds.map((round) => round[name]))]);
  return Object.fromEntries(entries) as unknown as RequestCost;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function tellTime(
  report: Report,
  name: string,
  step: StepName,
  users: readonly number[],
  costs: Costs,
): void {
  const direct = costs.get('direct')!.levels;
  const { levels } = costs.get(step)!;
  const figure = (what: string, value: number, peer: number, more: Partial<Figure> = {}) =>
    report({
      name: `${name}.${step}.${what}`,
      value,
      unit: 'us/request',
      baseline: step === 'direct' ? null : peer,
      target: null,
      ...more,
    });
  for (const [i, { cpuUs }] of levels.entries()) figure(`cpu.${users[i]}-users`, cpuUs, direct[i].cpuUs);
  const over = (of: (cost: RequestCost) => number): [number, number] => [
    mean(levels.map(of)),
    mean(direct.map(of)),
  ];
  const published = PUBLISHED_CPU[step];
  figure('cpu', ...over(({ cpuUs }) => cpuUs), {
    ...(step === 'booster' && { target: '<= 0.25' }),
    ...(published !== undefined && { published }),
  });
  figure('softirq', ...over(({ softirqUs }) => softirqUs));
  const [value, peer] = over(({ requestsPerSecond }) => requestsPerSecond);
  figure('rate', value, peer, { unit: 'requests/s' });
}

function tellPackets(report: Report, name: string, step: StepName, costs: Costs): void {
  const direct = costs.get('direct')!.onTheWire;
  const { received, sent, onLinks, acknowledgements } = costs.get(step)!.onTheWire;
  const figure = (what: string, value: number, more: Partial<Figure>) =>
    report({
      name: `${name}.${step}.${what}`,
      value,
      unit: 'packets/request',
      baseline: null,
      target: null,
      ...more,
    });
  if (step === 'direct') {
    figure('received', received, {});
    figure('sent', sent, {});
    return;
  }
  const isBooster = step === 'booster';
  const baseline = direct.received;
  figure('received', received, { baseline, ...(isBooster && { published: PUBLISHED_RECEIVED }) });
  figure('sent', sent, { baseline: direct.sent, ...(isBooster && { published: PUBLISHED_SENT }) });
  if (!isBooster) return;
  figure('received.own', onLinks, { baseline, published: PUBLISHED_RECEIVED });
  // What thinning them to none at all would save.
  figure('received.acknowledgements', acknowledgements, { baseline: received });
  figure('received.aim', received, { baseline: MOST_RECEIVED, target: '<= 1' });
  figure('sent.aim', sent, { baseline: MOST_SENT, target: '<= 1' });
}
