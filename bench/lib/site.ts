/** The files that benchmarks ask for. Names are chosen so that the policy `hash` sends each to a wanted node. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { Hash } from '../../src/cluster/policy/hash.ts';
import type { RequestHead } from '../../src/protocol/http/request.ts';
import { writeRamp } from '../../src/tools/lab/sample-site.ts';
import { scratchDirectory } from './cleanup.ts';

const KIB = 1024;
const MAX_NAMES_TRIED = 1000;

export const SIZES = {
  '0b': 0,
  '100b': 100,
  '1k': KIB,
  '4k': 4 * KIB,
  '6k': 6 * KIB,
  '10k': 10 * KIB,
  '16k': 16 * KIB,
  '30k': 30 * KIB,
  '32k': 32 * KIB,
  '64k': 64 * KIB,
  '100k': 100 * KIB,
  '256k': 256 * KIB,
  '1m': KIB * KIB,
  '10m': 10 * KIB * KIB,
} as const;
export type SizeName = keyof typeof SIZES;

/** The first of `/SIZE-0.bin`, `/SIZE-1.bin` ... that `hash` over these nodes sends to `target`. */
function nameFor(size: SizeName, target: string, nodes: readonly string[]): string {
  const hash = new Hash();
  const candidates = nodes.map((name, index) => ({ index, name }));
  for (let i = 0; i < MAX_NAMES_TRIED; i++) {
    const name = `${size}-${i}.bin`;
    const head = { path: `/${name}` } as RequestHead;
    if (nodes[hash.choose(head, candidates)] === target) return name;
  }
  throw new Error(`none of ${MAX_NAMES_TRIED} names goes to node ${target}`);
}

export class Site {
  readonly root: string;
  readonly #nodes: readonly string[];
  readonly #written = new Set<string>();

  /** `nodes`: of the cluster that serves it with the policy `hash`. */
  constructor(nodes: readonly string[]) {
    this.#nodes = nodes;
    this.root = mkdtempSync(join(scratchDirectory(), 'site-'));
  }

  /** The path of a file of that size that node `target` answers. Written at the first call. */
  path(size: SizeName, target: string): string {
    const name = nameFor(size, target, this.#nodes);
    if (!this.#written.has(name)) writeRamp(this.root, name, SIZES[size]);
    this.#written.add(name);
    return `/${name}`;
  }
}
