/** What of a benchmark is measured, and for how long: of those that take parts (main.ts). */
export interface BenchOptions {
  readonly sizes?: readonly string[];
  readonly kinds?: readonly string[];
  readonly systems?: readonly string[];
  /** Levels of load. */
  readonly users?: readonly number[];
  /** Of the cluster. */
  readonly nodes?: number;
  /** The files are behind HTTP servers, not on the nodes' disks. */
  readonly upstream?: boolean;
  /** Every system writes its access log. */
  readonly accessLog?: boolean;
  /** By the clock as well: so many requests, in percent of what the slowest system does at full speed. */
  readonly pace?: number;
  readonly rounds?: number;
  readonly seconds?: number;
  /** The file that results are added to. */
  readonly out?: string;
}

/** Those of `known` that were named; all when none was. */
export function named<T extends string>(
  what: string,
  known: readonly T[],
  names: readonly string[] | undefined,
): T[] {
  const wrong = names?.find((name) => !known.some((one) => one === name));
  if (wrong !== undefined) throw new Error(`no ${what} ${wrong}; there are ${known.join(', ')}`);
  return known.filter((one) => names?.includes(one) ?? true);
}
