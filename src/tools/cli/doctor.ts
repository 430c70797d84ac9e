/** `baton doctor`: what this machine lacks, what for, and how to get it. */
import { Command } from 'commander';
import { removeLeftAddresses } from '../doctor/left-addresses.ts';
import { leftRouters, removeRouter } from '../doctor/left-routers.ts';
import { checkLeftovers } from '../doctor/leftovers.ts';
import { type Finding, inspectMachine } from '../doctor/machine.ts';

const MARKS = { ok: 'ok     ', warn: 'warn   ', missing: 'MISSING' } as const;

/** Removes what ended nodes left; says what, a line each. */
function cleanUp(): string[] {
  const routers = leftRouters().map(removeRouter);
  return [...routers, ...removeLeftAddresses()];
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what this machine lacks to run Baton, and how to get it; exit 0 when it can serve')
    .option('--json', 'as JSON: {"canServe": ..., "findings": [...]}')
    .option('--clean', 'first remove the routers and public addresses that ended nodes left on this machine')
    .action(({ json, clean }: { json?: true; clean?: true }) => {
      // Standard output is for the findings alone.
      if (clean) for (const line of cleanUp()) console.error(line);
      const findings: Finding[] = [...inspectMachine(), ...checkLeftovers()];
      const canServe = findings.every((finding) => finding.state !== 'missing');
      if (json) console.log(JSON.stringify({ canServe, findings }, null, 2));
      else {
        const width = Math.max(...findings.map((finding) => finding.name.length));
        for (const { name, state, detail, purpose, remedy } of findings) {
          console.log(`${MARKS[state]}  ${name.padEnd(width)}  ${detail}`);
          if (state !== 'ok')
            console.log(`${' '.repeat(width + 11)}for: ${purpose}\n${' '.repeat(width + 11)}fix: ${remedy}`);
        }
        console.log(
          canServe ? '\nThis machine can serve.' : '\nThis machine cannot serve yet: see MISSING above.',
        );
      }
      process.exitCode = canServe ? 0 : 1;
    });
}
