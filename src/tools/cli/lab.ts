/** `baton lab`: a whole cluster with a client, in network namespaces of this machine. */
import { Command, InvalidArgumentError } from 'commander';
import { Lab } from '../lab/lab.ts';
import type { LabOptions } from '../lab/plan.ts';
import { labBoosts } from './lab-boosts.ts';
import { type ExecFlags, execInLab } from './lab-exec.ts';
import { printLab, printStatus } from './lab-print.ts';

interface NameFlag {
  readonly name: string;
}

interface UpFlags extends NameFlag {
  readonly nodes: number;
  readonly boosters?: number;
  readonly mechanism?: string;
  readonly policy?: string;
  readonly root?: string;
  readonly rate?: string;
  readonly delay?: number;
  readonly loss?: number;
  readonly seed?: number;
  readonly mtu?: number;
  readonly tls?: true;
  readonly set?: string[];
  readonly json?: true;
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Not a number.');
  return value;
}

const appended = (value: string, before: string[] = []): string[] => [...before, value];

/** A subcommand with the option that every one of them has. */
function subcommand(definition: string, description: string): Command {
  return new Command(definition).description(description).option('--name <name>', 'which lab', 'lab');
}

function upCommand(): Command {
  return subcommand('up', 'build a lab and start its nodes; an earlier one of that name is taken down first')
    .option('--nodes <n>', 'how many nodes: a, b, c, ...', number, 3)
    .option('--boosters <n>', 'how many boosters for them: x, y, z', number)
    .option('--mechanism <name>', 'local, relay, anchor, clone, split or migrate (default: anchor)')
    .option(
      '--policy <name>',
      'round-robin, hash, local, least-load, cached or delegate (default: round-robin)',
    )
    .option('--root <dir>', 'what to serve (default: a generated site)')
    .option('--rate <rate>', "of each node's link, each direction, such as 100mbit")
    .option('--delay <ms>', "added to the client's round-trip time, half of it each way", number)
    .option('--loss <percent>', "of the client's packets, each way", number)
    .option('--seed <n>', 'of the random loss', number)
    .option('--mtu <bytes>', "of the client's link, behind a router that refuses larger packets", number)
    .option('--tls', 'https beside http, with a certificate authority of the lab')
    .option(
      '--set <key=value>',
      'any key of the configuration, such as limits.idleSeconds=5 (repeatable)',
      appended,
    )
    .option('--json', 'print the lab as JSON')
    .action(async (flags: UpFlags) => {
      const { delay, loss, json, ...rest } = flags;
      const shape = {
        ...(delay === undefined ? {} : { delayMs: delay }),
        ...(loss === undefined ? {} : { lossPercent: loss }),
      };
      const options: LabOptions = { ...rest, ...shape };
      const lab = await Lab.up(options);
      printLab(await lab.status(), json === true);
    });
}

export function labCommand(): Command {
  const exec = subcommand('exec', 'run a command on a host of the lab: client, a, b, c, ...')
    .argument('<host>', 'client, or the name of a node')
    .argument('<command...>', 'the command and its arguments, after --')
    .passThroughOptions()
    .action(async (host: string, command: string[], flags: ExecFlags) => {
      process.exitCode = await execInLab(host, command, flags);
    });
  const kill = subcommand('kill', "SIGKILL a node's process")
    .argument('<node>')
    .action((node: string, { name }: NameFlag) => Lab.attach(name).kill(node));
  const start = subcommand('start', "start a node's process again, and wait until it is ready")
    .argument('<node>')
    .action((node: string, { name }: NameFlag) => Lab.attach(name).start(node));
  const status = subcommand('status', 'what runs in the lab')
    .option('--json', 'as JSON')
    .action(async ({ name, json }: NameFlag & { json?: true }) => {
      const lab = Lab.attach(name);
      const status = await lab.status();
      printStatus({ ...status, boosts: await labBoosts(lab, status) }, json === true);
    });
  const down = subcommand('down', 'end and remove everything of the lab, whatever state it is in').action(
    ({ name }: NameFlag) => {
      console.log(Lab.remove(name) ? `lab ${name} is down` : `there is no lab named ${name}`);
    },
  );
  const lab = new Command('lab')
    .description('a whole cluster with a client on this machine, in network namespaces (needs root)')
    .enablePositionalOptions();
  for (const command of [upCommand(), exec, kill, start, status, down]) lab.addCommand(command);
  return lab;
}
