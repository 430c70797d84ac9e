/** What is wrong with a configuration: every problem at once, each with its place. */

/** One problem. Lines and columns count from 1. `hint` says what to do; it may be empty. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly hint: string;
}

/** Prints a problem the way compilers do, the hint on a line of its own. `severity`: `warning: ` or nothing. */
export function formatProblem(problem: ConfigProblem, severity = ''): string {
  const place = `${problem.file}:${problem.line}:${problem.column}: ${severity}${problem.message}`;
  return problem.hint === '' ? place : `${place}\n  hint: ${problem.hint}`;
}

/** The configuration cannot be used. `problems` holds at least one entry, in the order of the file. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'CONFIG';
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    super(sorted.map((problem) => formatProblem(problem)).join('\n'));
    this.problems = sorted;
  }
}
