/** `baton check`: whether a configuration can be used. */
import { Command } from 'commander';
import type { ClusterConfig } from '../../base/config/config.ts';
import { ConfigError, type ConfigProblem, formatProblem } from '../../base/config/error.ts';
import { findNode } from '../../base/config/find-node.ts';
import { openConfig } from '../../base/config/load.ts';
import type { Source } from '../../base/config/source.ts';
import { PolicyError } from '../../cluster/policy/create.ts';
import { tryPolicies } from '../../cluster/policy/trial.ts';
import { checkMachine, nodeHere } from './machine-checks.ts';

interface Flags {
  readonly config: string;
  readonly node?: string;
}

/** What is wrong with policy modules, where the file names them. */
async function checkPolicies(source: Source, { sites }: ClusterConfig): Promise<ConfigProblem[]> {
  try {
    await tryPolicies(sites);
    return [];
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    const index = sites.findIndex(
      ({ policy }) => typeof policy === 'object' && 'file' in policy && policy.file === error.file,
    );
    const hint = 'docs/policies.md says what a module has to export';
    return [source.problem(['sites', index, 'policy', 'module'], 'value', error.message, hint)];
  }
}

export function checkCommand(): Command {
  return new Command('check')
    .description(
      'check a configuration and try its policy modules: prints ok, or every problem with file, line and column (exit 1)',
    )
    .requiredOption('-c, --config <file>', 'the cluster file')
    .option('-n, --node <name>', 'which of its nodes this machine is (default: by its addresses)')
    .action(async ({ config: file, node }: Flags) => {
      const { config, source } = openConfig(file);
      if (node !== undefined) findNode(config, node);
      const here = node ?? nodeHere(config);
      const { errors, warnings } = checkMachine(source, config, here);
      for (const warning of warnings) console.error(formatProblem(warning, 'warning: '));
      const problems = [...errors, ...(await checkPolicies(source, config))];
      if (problems.length > 0) throw new ConfigError(problems);
      const nodes = config.nodes.map(({ name }) => name + (name === here ? ', which is this machine' : ''));
      const sites = config.sites.map((site) => site.name).join(', ');
      console.log(`${file}: ok (nodes: ${nodes.join(', ')}; sites: ${sites})`);
    });
}
