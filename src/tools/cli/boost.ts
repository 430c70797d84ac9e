/** `baton boost`: whether a node's new clients go to boosters. */
import { setTimeout as delay } from 'node:timers/promises';
import { Argument, Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';
import { BOOST_MODES, type BoostMode } from '../../cluster/boost-switch.ts';
import type { BoostStatus } from '../../cluster/boosting.ts';
import { Lab } from '../lab/lab.ts';
import { AskError, askHere } from './ask.ts';
import { execInLab } from './lab-exec.ts';

const POLL_MS = 50;
/** The engine looks many times in that. */
const TIMEOUT_MS = 5000;

interface Flags {
  readonly config?: string;
  readonly name: string;
}

interface Status {
  readonly engines: ReadonlyArray<{ readonly boost: BoostStatus | null }>;
}

/** `on (by hand), new clients to x` */
export function describeBoost({ mode, on, why, boosters }: BoostStatus): string {
  if (!on) return `off (${mode === 'off' ? 'by hand' : 'the load is low'})`;
  const names = Object.keys(boosters);
  return `on (${why}), ${names.length > 0 ? `new clients to ${names.join(', ')}` : 'and no booster takes clients'}`;
}

async function boost(mode: BoostMode, node: string): Promise<void> {
  const ask = askHere(node);
  if ((await ask('POST', `/api/boost/${mode}`)) === null)
    throw new AskError(
      `node ${node} does not run on this machine; give the command on the machine of ${node}`,
    );
  const until = Date.now() + TIMEOUT_MS;
  for (;;) {
    const status = (await ask('GET', '/api/status')) as Status | null;
    const found = status?.engines.find((engine) => engine.boost !== null)?.boost;
    const isDone = found?.mode === mode && (mode === 'auto' || found.on === (mode === 'on'));
    if (found && isDone) return console.log(`${node}: boost ${describeBoost(found)}`);
    if (Date.now() > until) throw new AskError(`node ${node} has not taken it within ${TIMEOUT_MS} ms`);
    await delay(POLL_MS);
  }
}

/** Runs this command on a machine of the lab. */
async function boostInLab(mode: BoostMode, node: string, name: string): Promise<void> {
  const { configFile } = Lab.attach(name).plan;
  const [runtime, main] = process.argv;
  const command = [runtime, main, 'boost', mode, node, '--config', configFile];
  process.exitCode = await execInLab(node, command, { name });
}

export function boostCommand(): Command {
  return new Command('boost')
    .description("give the new clients of this machine's node to boosters, or not, or as its load says")
    .addArgument(new Argument('<mode>', 'what is to be done').choices(BOOST_MODES))
    .argument('<node>', 'its name: nothing happens when another node runs here')
    .option('-c, --config <file>', 'the cluster file')
    .option('--name <lab>', 'without --config: a node of this lab', 'lab')
    .action(async (mode: BoostMode, node: string, { config: file, name }: Flags) => {
      if (file === undefined) return boostInLab(mode, node, name);
      findNode(loadConfig(file), node);
      return boost(mode, node);
    });
}
