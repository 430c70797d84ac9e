/** `baton purge`: has a node forget stored responses of a site, those that are on their way included. */
import { Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';
import { Lab } from '../lab/lab.ts';
import { AskError, askHere } from './ask.ts';
import { execInLab } from './lab-exec.ts';
import { nodeHere } from './machine-checks.ts';

interface Flags {
  readonly config?: string;
  readonly node?: string;
  readonly name: string;
}

interface Outcome {
  readonly resources: number;
  readonly unanswered: ReadonlyArray<{ readonly engine: number; readonly reason: string }>;
}

async function purge(node: string, site: string, path: string): Promise<void> {
  const query = new URLSearchParams({ site, path });
  const outcome = (await askHere(node)('POST', `/api/purge?${query}`)) as Outcome | null;
  if (outcome === null)
    throw new AskError(
      `node ${node} does not run on this machine; give the command on the machine of ${node}`,
    );
  const { resources, unanswered } = outcome;
  if (unanswered.length > 0) throw new AskError(unanswered.map(({ reason }) => reason).join('; '));
  console.log(`${node}: ${resources} resources forgotten`);
}

/** Runs this command on machines of the lab. */
async function purgeInLab(site: string, path: string, { node, name }: Flags): Promise<void> {
  const { plan } = Lab.attach(name);
  const [runtime, main] = process.argv;
  for (const one of node === undefined ? plan.nodes.map((other) => other.name) : [node]) {
    const command = [runtime, main, 'purge', site, path, '--config', plan.configFile, '--node', one];
    process.exitCode = (await execInLab(one, command, { name })) || process.exitCode;
  }
}

export function purgeCommand(): Command {
  return new Command('purge')
    .description("have this machine's node forget stored responses of a site")
    .argument('<site>', 'its name')
    .argument('<path>', 'as requested; without a query: with any; with * at its end: all that begins so')
    .option('-c, --config <file>', 'the cluster file')
    .option('-n, --node <name>', 'which of its nodes this machine is (default: by its addresses)')
    .option('--name <lab>', 'without --config: all nodes of this lab', 'lab')
    .action(async (site: string, path: string, flags: Flags) => {
      if (flags.config === undefined) return purgeInLab(site, path, flags);
      const config = loadConfig(flags.config);
      const node = flags.node ?? nodeHere(config);
      if (node === null)
        throw new AskError('no node of the file has an address of this machine: add --node NAME');
      findNode(config, node);
      return purge(node, site, path);
    });
}
