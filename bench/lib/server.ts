/** A system under test as the load sees it: an address in a lab, and the processes that do the work. */
import type { Lab } from '../../src/tools/lab/lab.ts';

export interface Server {
  readonly name: string;
  readonly lab: Lab;
  /** `HOST` or `HOST:PORT` that clients connect to. */
  readonly endpoint: string;
  readonly scheme: 'http' | 'https';
  /** The process of each node, by node; its children count with it. */
  readonly processes: ReadonlyMap<string, number>;
  /** What a node's process has logged, or the end of it. */
  log(node: string): string;
}
