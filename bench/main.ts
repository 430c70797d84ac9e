/**
 * `npm run bench -- [NAME...] [--json]`: runs benchmarks, each against its peer in the same run. A part of
 * against-proxies: `--sizes 0b,1k --kinds kept --systems auto,nginx --rounds 7 --seconds 2 --out FILE`, with four nodes,
 * files behind upstreams, access logs, and by the clock as well: `--nodes 4 --upstream --access-log --pace 50`; of
 * boost: `--systems node --kinds new --users 360 --rounds 1 --seconds 3`.
 */
import { parseArgs } from 'node:util';
import { accelerator } from './accelerator.ts';
import { againstProxies } from './against-proxies.ts';
import { boost } from './boost.ts';
import { boostReturn } from './boost-return.ts';
import { boostSwitch } from './boost-switch.ts';
import { breakdown } from './breakdown.ts';
import { cloning } from './cloning.ts';
import { direct } from './direct.ts';
import { efficiency } from './efficiency.ts';
import { frontCpu } from './front-cpu.ts';
import { keeping } from './keeping.ts';
import { latency } from './latency.ts';
import { cleanUpAtExit, cleanUpNow } from './lib/cleanup.ts';
import type { BenchOptions } from './lib/options.ts';
import { formatTable, machine, type Report, type Result, toResult } from './lib/result.ts';
import { migrationCost } from './migration-cost.ts';
import { pipeDrain } from './pipe-drain.ts';
import { preCloning } from './pre-cloning.ts';
import { reload } from './reload.ts';
import { LINKS, PROCESSORS, scaleOut } from './scale-out.ts';
import { setup } from './setup.ts';
import { splitLatency } from './split-latency.ts';
import { splitScaleup } from './split-scaleup.ts';
import { splitSize } from './split-size.ts';
import { webstone } from './webstone.ts';

type Benchmark = (report: Report, options: BenchOptions) => Promise<void>;

const BENCHMARKS: ReadonlyMap<string, Benchmark> = new Map<string, Benchmark>([
  ['against-proxies', againstProxies],
  ['direct', (report) => direct(report, 'direct')],
  ['tls-direct', (report) => direct(report, 'tls-direct')],
  ['accelerator', accelerator],
  ['efficiency', (report) => efficiency(report, 'efficiency')],
  ['tls-efficiency', (report) => efficiency(report, 'tls-efficiency')],
  ['latency', latency],
  ['breakdown', breakdown],
  ['scale-out', (report) => scaleOut(report, LINKS)],
  ['tls-scale-out', (report) => scaleOut(report, PROCESSORS)],
  ['front-cpu', (report) => frontCpu(report, 'front-cpu')],
  ['tls-front-cpu', (report) => frontCpu(report, 'tls-front-cpu')],
  ['migration-cost', migrationCost],
  ['reload', reload],
  ['pipe-drain', pipeDrain],
  ['webstone', webstone],
  ['boost', boost],
  ['boost-switch', boostSwitch],
  ['boost-return', boostReturn],
  ['cloning', cloning],
  ['pre-cloning', preCloning],
  ['keeping', keeping],
  ['setup', setup],
  ['split-latency', splitLatency],
  ['split-scaleup', splitScaleup],
  ['split-size', splitSize],
]);

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

function usage(problem: string): never {
  console.error(
    `bench: ${problem}\nnpm run bench -- [NAME...] [--json]; names: ${[...BENCHMARKS.keys()].join(', ')}`,
  );
  process.exit(EXIT_USAGE);
}

interface Arguments {
  readonly names: readonly string[];
  readonly json: boolean;
  readonly options: BenchOptions;
}

const listOf = (text: string | undefined): readonly string[] | undefined => text?.split(',');

function numberOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  return Number.isInteger(number) && number > 0
    ? number
    : usage(`--${name} ${text}: give a whole number above 0`);
}

function readArguments(): Arguments {
  const text = { type: 'string' } as const;
  try {
    const { values, positionals } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        upstream: { type: 'boolean' },
        'access-log': { type: 'boolean' },
        ...{ sizes: text, kinds: text, systems: text, users: text, rounds: text, seconds: text, out: text },
        ...{ nodes: text, pace: text },
      },
      allowPositionals: true,
    });
    const { sizes, kinds, systems, users, nodes, upstream, pace, rounds, seconds, out, json } = values;
    const given = {
      sizes: listOf(sizes),
      kinds: listOf(kinds),
      systems: listOf(systems),
      users: listOf(users)?.map((level) => numberOf('users', level)),
      nodes: numberOf('nodes', nodes),
      upstream,
      accessLog: values['access-log'],
      pace: numberOf('pace', pace),
      rounds: numberOf('rounds', rounds),
      seconds: numberOf('seconds', seconds),
      out,
    };
    const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    return { names: positionals.length > 0 ? positionals : [...BENCHMARKS.keys()], json, options };
  } catch (error) {
    return usage((error as Error).message);
  }
}

const { names, json, options } = readArguments();
const unknown = names.find((name) => !BENCHMARKS.has(name));
if (unknown !== undefined) usage(`no benchmark ${JSON.stringify(unknown)}`);
if (process.getuid?.() !== 0) usage('the lab needs root');
cleanUpAtExit();
const machineText = machine();
if (!json) console.log(machineText);
for (const name of names) {
  const results: Result[] = [];
  try {
    await BENCHMARKS.get(name)!((figure) => {
      const result = toResult(figure, machineText);
      results.push(result);
      if (json) console.log(JSON.stringify(result));
    }, options);
  } catch (error) {
    // The others still run; the exit code tells.
    console.error(`bench: ${name}: ${(error as Error).message}`);
    process.exitCode = EXIT_FAILED;
    cleanUpNow();
  }
  if (!json) console.log(`\n${formatTable(results)}`);
}
