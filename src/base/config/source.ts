/** A YAML file as a value, and where in the file each part of it stands. */
import {
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { ConfigError, type ConfigProblem } from './error.ts';

export const MAX_FILE_BYTES = 1024 * 1024;
const MAX_ALIASES = 100;
const MAX_DEPTH = 32;

export type Path = readonly PropertyKey[];

/** Which end of `key: value` a problem is about. */
export type At = 'key' | 'value';

export class Source {
  readonly file: string;
  /** The whole file as plain data; an empty value (`limits:`) is a key that is undefined. */
  readonly value: unknown;
  readonly #document: ReturnType<typeof parseDocument>;
  readonly #lines = new LineCounter();

  /** Throws ConfigError when the text is not YAML. */
  constructor(file: string, text: string) {
    this.file = file;
    if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
      throw new ConfigError([this.#at(0, `the file is larger than ${MAX_FILE_BYTES} bytes`, '')]);
    }
    try {
      this.#document = parseDocument(text, {
        lineCounter: this.#lines,
        prettyErrors: false,
        logLevel: 'error',
      });
    } catch (error) {
      // The parser recurses: a file of nothing but brackets ends its stack.
      throw new ConfigError([this.#at(0, `cannot be read as YAML: ${(error as Error).message}`, '')]);
    }
    const { errors } = this.#document;
    if (errors.length > 0) {
      throw new ConfigError(errors.map((error) => this.#at(error.pos[0], yamlMessage(error.message), '')));
    }
    try {
      this.value = this.#plain(this.#document.toJS({ maxAliasCount: MAX_ALIASES }), []);
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      throw new ConfigError([this.#at(0, `cannot be read: ${(error as Error).message}`, '')]);
    }
  }

  /** A copy with undefined for null. Keys that JavaScript gives a meaning of its own are refused. */
  #plain(value: unknown, path: Path): unknown {
    if (path.length > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH} levels`);
    if (Array.isArray(value)) return value.map((entry, index) => this.#plain(entry, [...path, index]));
    if (typeof value !== 'object' || value === null) return value ?? undefined;
    const copy: Record<string, unknown> = {};
    for (const [key, entry] of entriesOf(value)) {
      const at = [...path, key];
      if (key === '__proto__')
        throw new ConfigError([this.problem(at, 'key', 'the key __proto__ is not allowed')]);
      copy[key] = this.#plain(entry, at);
    }
    return copy;
  }

  #at(offset: number, message: string, hint: string): ConfigProblem {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col), message, hint };
  }

  #offsetOf(path: Path, at: At): number {
    let node: Node | null = this.#document.contents as Node | null;
    let offset = node?.range?.[0] ?? 0;
    for (const [index, step] of path.entries()) {
      if (isAlias(node)) node = (node.resolve(this.#document) ?? null) as Node | null;
      let next: Node | null = null;
      if (isMap(node)) {
        const pair = pairOf(node, String(step));
        if (pair === undefined) break;
        next = (pair.value ?? null) as Node | null;
        offset = offsetInPair(pair as Pair<Node, Node | null>, index === path.length - 1 ? at : 'key');
      } else if (isSeq(node)) {
        next = (node.items[Number(step)] ?? null) as Node | null;
        offset = next?.range?.[0] ?? offset;
      }
      if (next === null) break;
      node = next;
    }
    return offset;
  }

  /** A problem at `path`, or at the nearest part of it that the file has. */
  problem(path: Path, at: At, message: string, hint = ''): ConfigProblem {
    return this.#at(this.#offsetOf(path, at), message, hint);
  }
}

/** What plain data has at a path; undefined where it has nothing. */
export function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (!hasOwn(at, step)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return at;
}

export function hasOwn(value: unknown, key: PropertyKey): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key);
}

/** Keys and values of a map, or of a YAML !!omap or !!set. */
function entriesOf(value: object): Array<[string, unknown]> {
  if (value instanceof Set) return [...value].map((key) => [String(key), undefined]);
  return value instanceof Map
    ? [...value].map(([key, entry]) => [String(key), entry])
    : Object.entries(value);
}

/** The pair of a map by its key. One that is no scalar has its YAML for a name, which can be laid out in many ways. */
function pairOf({ items }: YAMLMap, key: string): Pair | undefined {
  const bare = (text: string) => text.replace(/[\s"']/g, '');
  const scalar = items.find((item) => isScalar(item.key) && String(item.key.value ?? '') === key);
  return scalar ?? items.find(({ key: one }) => isCollection(one) && bare(String(one)) === bare(key));
}

function offsetInPair(pair: Pair<Node, Node | null>, at: At): number {
  const key = pair.key.range?.[0] ?? 0;
  return at === 'key' ? key : (pair.value?.range?.[0] ?? key);
}

function yamlMessage(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1).split('\n', 1)[0];
}
