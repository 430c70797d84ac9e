/** The `baton` command. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { boostCommand } from './boost.ts';
import { checkCommand } from './check.ts';
import { doctorCommand } from './doctor.ts';
import { drainCommand } from './drain.ts';
import { explainCommand } from './explain.ts';
import { labCommand } from './lab.ts';
import { purgeCommand } from './purge.ts';
import { reportError } from './report.ts';
import { serveCommand } from './serve.ts';

const manifest = new URL('../../../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };

const EXAMPLES = `
Examples:
  baton doctor                                    what this machine lacks
  baton check --config cluster.yaml
  baton serve --config cluster.yaml --node a
  baton explain http://example.org/ --config cluster.yaml
  baton drain a --config cluster.yaml             move its connections away, then end it
  baton boost on a --config cluster.yaml          its new clients go to boosters
  baton purge shop '/img/*' --config cluster.yaml forget stored responses of site shop
  baton lab up --nodes 3                          a whole cluster on this machine
  baton lab exec client -- curl -si http://a/
  baton lab down`;

const program = new Command('baton')
  .description('A web cluster that moves live TCP connections from server to server while they are in use.')
  .version(version)
  .enablePositionalOptions()
  .showHelpAfterError('(add --help for what is possible)')
  .addHelpText('after', EXAMPLES)
  .addCommand(serveCommand())
  .addCommand(drainCommand())
  .addCommand(boostCommand())
  .addCommand(purgeCommand())
  .addCommand(checkCommand())
  .addCommand(explainCommand())
  .addCommand(doctorCommand())
  .addCommand(labCommand());

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = reportError(error);
}
