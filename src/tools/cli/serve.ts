/** `baton serve`: one node of the cluster, until a signal ends it. */
import { Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';

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

/**
 * The exit code of a node that was drained: a service manager must not start it again (RestartPreventExitStatus= in
 * examples/baton.service). It is none of sysexits.h, nor of systemd.exec(5).
 */
const DRAINED_EXIT_CODE = 80;
/** `baton drain` waits for what cannot move; not for ever. */
const DRAIN_LIMIT_MS = 3_600_000;

export function serveCommand(): Command {
  return new Command('serve')
    .description('run one node of the cluster; SIGTERM or SIGINT ends it (a second one at once)')
    .requiredOption('-c, --config <file>', 'the cluster file, the same on every node')
    .requiredOption('-n, --node <name>', 'which of its nodes this machine is')
    .action(async ({ config: file, node: name }: { config: string; node: string }) => {
      const config = loadConfig(file);
      findNode(config, name);
      const stopping = stopSignal();
      // Loaded here: the other commands need no libbpf and no engine.
      const { startNode } = await import('../../node/process/node.ts');
      const node = await startNode(config, name);
      let exitCode = 0;
      const drained = node.drainRequested.then(() => {
        exitCode = DRAINED_EXIT_CODE;
        return node.stop(DRAIN_LIMIT_MS);
      });
      await Promise.race([stopping, drained]);
      await node.stop(config.timeouts.stopSeconds * 1000);
      process.exit(exitCode);
    });
}
