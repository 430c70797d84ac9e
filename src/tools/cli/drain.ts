/** `baton drain`: empties a node. Its connections move to the others, then its process ends. */
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';
import { Lab } from '../lab/lab.ts';
import { AskError, askHere } from './ask.ts';
import { execInLab } from './lab-exec.ts';

const POLL_MS = 250;

interface Flags {
  readonly config?: string;
  readonly name: string;
}

/** What of /api/status counts. */
interface Status {
  readonly pid: number;
  readonly engines: ReadonlyArray<{ connections: number; flows: number; halfPipes: number }>;
}

function describe({ engines }: Status): string {
  const sum = (key: 'connections' | 'flows' | 'halfPipes') => engines.reduce((n, one) => n + one[key], 0);
  return `${sum('connections')} connections, ${sum('flows')} flows, ${sum('halfPipes')} half-pipes left`;
}

/** Resolves when the process that runs now has ended. */
async function drain(node: string): Promise<void> {
  const ask = askHere(node);
  const before = (await ask('GET', '/api/status')) as Status | null;
  if (before === null || (await ask('POST', '/api/drain')) === null)
    throw new AskError(
      `node ${node} does not run on this machine; give the command on the machine of ${node}`,
    );
  let last = '';
  for (;;) {
    const status = (await ask('GET', '/api/status').catch(() => undefined)) as Status | null | undefined;
    if (status === null || (status !== undefined && status.pid !== before.pid)) {
      const again = status === null ? '' : `; it was started again since, as process ${status.pid}`;
      console.log(`${node}: empty, its process has ended${again}`);
      return;
    }
    const text = status === undefined ? last : describe(status);
    if (text !== last) console.log(`${node}: ${text}`);
    last = text;
    await delay(POLL_MS);
  }
}

/** Runs this command on a machine of the lab. */
async function drainInLab(node: string, name: string): Promise<void> {
  const { configFile } = Lab.attach(name).plan;
  const [runtime, main] = process.argv;
  const command = [runtime, main, 'drain', node, '--config', configFile];
  process.exitCode = await execInLab(node, command, { name });
}

export function drainCommand(): Command {
  return new Command('drain')
    .description("move every connection of this machine's node to the others, and end its process")
    .argument('<node>', 'its name: nothing happens when another node runs here')
    .option('-c, --config <file>', 'the cluster file')
    .option('--name <lab>', 'without --config: a node of this lab', 'lab')
    .action(async (node: string, { config: file, name }: Flags) => {
      if (file === undefined) return drainInLab(node, name);
      findNode(loadConfig(file), node);
      return drain(node);
    });
}
