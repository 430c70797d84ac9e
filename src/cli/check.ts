/** `baton check`: whether a configuration can be used. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';

export function checkCommand(): Command {
  return new Command('check')
    .description('check a configuration: prints ok, or every problem with file, line and column (exit 1)')
    .requiredOption('-c, --config <file>', 'the cluster file')
    .action(({ config: file }: { config: string }) => {
      const config = loadConfig(file);
      const nodes = config.nodes.map((node) => node.name).join(', ');
      const sites = config.sites.map((site) => site.name).join(', ');
      console.log(`${file}: ok (nodes: ${nodes}; sites: ${sites})`);
    });
}
