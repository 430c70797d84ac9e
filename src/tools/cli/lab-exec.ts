/** `baton lab exec`: a command on a host of the lab, as if it had been started there. */
import { LabError } from '../lab/error.ts';
import { exitCodeOf } from '../lab/exec.ts';
import { Lab } from '../lab/lab.ts';

export interface ExecFlags {
  readonly name: string;
}

/** Runs it with this process's own input and output; resolves to its exit code. */
export function execInLab(host: string, argv: readonly string[], { name }: ExecFlags): Promise<number> {
  // What follows the host is passed through as it is, the `--` before the command included.
  const command = argv[0] === '--' ? argv.slice(1) : argv;
  if (command.length === 0) throw new LabError('LAB_OPTION', 'no command: baton lab exec HOST -- COMMAND...');
  const child = Lab.attach(name).spawn(host, command, { stdio: 'inherit' });
  // A terminal sends its signals to the child as well; the exit code is the child's to decide.
  const forward = (signalName: NodeJS.Signals): void => {
    if (!process.stdin.isTTY) child.kill(signalName);
  };
  for (const signalName of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signalName, forward);
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('exit', (code, signalName) => done(code ?? exitCodeOf(signalName)));
  });
}
