/** `baton check`: whether a configuration can be used. */
import { Command } from 'commander';
import { loadConfig } from '../../base/config/load.ts';
import { tryPolicies } from '../../cluster/policy/trial.ts';

export function checkCommand(): Command {
  return new Command('check')
    .description(
      'check a configuration and try its policy modules: prints ok, or every problem with file, line and column (exit 1)',
    )
    .requiredOption('-c, --config <file>', 'the cluster file')
    .action(async ({ config: file }: { config: string }) => {
      const config = loadConfig(file);
      await tryPolicies(config.sites);
      const nodes = config.nodes.map((node) => node.name).join(', ');
      const sites = config.sites.map((site) => site.name).join(', ');
      console.log(`${file}: ok (nodes: ${nodes}; sites: ${sites})`);
    });
}
