/** `baton serve`: one node of the cluster, until a signal ends it. */
import { Command } from 'commander';
import { didYouMean } from '../config/checks.ts';
import { ConfigError } from '../config/error.ts';
import { loadConfig } from '../config/load.ts';

/** Resolves at the first SIGTERM or SIGINT. A second one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((done) => {
    let isStopping = false;
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => {
        if (isStopping) process.exit(1);
        isStopping = true;
        done();
      });
    }
  });
}

export function serveCommand(): Command {
  return new Command('serve')
    .description('run one node of the cluster; SIGTERM or SIGINT ends it (a second one at once)')
    .requiredOption('-c, --config <file>', 'the cluster file, the same on every node')
    .requiredOption('-n, --node <name>', 'which of its nodes this machine is')
    .action(async ({ config: file, node: name }: { config: string; node: string }) => {
      const config = loadConfig(file);
      const names = config.nodes.map((node) => node.name);
      if (!names.includes(name)) {
        const message = `there is no node ${name}; nodes are ${names.join(', ')}`;
        throw new ConfigError([{ file, line: 1, column: 1, message, hint: didYouMean(name, names) }]);
      }
      const stopping = stopSignal();
      // Loaded here: the other commands need no libbpf and no engine.
      const { startNode } = await import('../engine/node.ts');
      const node = await startNode(config, name);
      await stopping;
      await node.stop();
      process.exit(0);
    });
}
