/** The house: imports go down, nothing runs in a circle, files stay short. Lists of what does not yet may only shrink. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Engine } from '../../src/node/engine/engine.ts';

const SRC = fileURLToPath(new URL('../../../src/', import.meta.url));
const MAX_LINES = 350;

/** From the ground up. Folders on one floor do not know each other. */
const FLOORS = [
  ['base'],
  ['base/config'],
  ['kernel/tcp'],
  ['kernel/linux'],
  ['kernel/loop', 'kernel/router'],
  ['protocol/http', 'protocol/tls'],
  ['protocol/backplane'],
  ['cluster'],
  ['cluster/policy'],
  ['serve'],
  ['handoff/flow', 'handoff/request'],
  ['handoff/anchor', 'handoff/target', 'handoff/move'],
  ['handoff/mechanism'],
  ['client'],
  ['node/engine'],
  ['node/admin'],
  ['node/process'],
  ['tools/lab'],
  ['tools/doctor'],
  ['tools/cli'],
];

/** Climbs that are still there, as `file -> folder`. Take one out when it is gone; put none in. */
const CLIMBS: readonly string[] = JSON.parse(
  readFileSync(new URL('../../../test/house/climbs.json', import.meta.url), 'utf8'),
);

const IMPORT = /(?:import|export)[^;'"]*?from '(\.[^']+)'|import '(\.[^']+)'/gs;
const floorOf = new Map(FLOORS.flatMap((names, floor) => names.map((name) => [name, floor] as const)));

interface Source {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly string[];
}

const sources: readonly Source[] = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .sort()
  .map((path) => {
    const text = readFileSync(join(SRC, path), 'utf8');
    const imports = [...text.matchAll(IMPORT)].map(([, named, bare]) =>
      normalize(join(dirname(path), named ?? bare)),
    );
    return { path, lines: text.split('\n').length - 1, imports };
  });

function floor(path: string): number {
  const found = floorOf.get(dirname(path));
  assert(found !== undefined, `src/${dirname(path)} has no floor: give it one in ${import.meta.url}`);
  return found;
}

test('every import goes down', () => {
  const climbs = new Set<string>();
  for (const { path, imports } of sources) {
    for (const target of imports) {
      if (dirname(path) !== dirname(target) && floor(target) >= floor(path)) {
        climbs.add(`${path} -> ${dirname(target)}`);
      }
    }
  }
  assert.deepEqual([...climbs].sort(), CLIMBS);
});

/** Files from which an import leads back to themselves, types included. */
function circle(): string[] {
  const graph = new Map(sources.map(({ path, imports }) => [path, imports]));
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (path: string): string[] => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return [];
    way.push(path);
    for (const target of graph.get(path) ?? []) {
      const found = visit(target);
      if (found.length > 0) return found;
    }
    way.pop();
    done.add(path);
    return [];
  };
  for (const path of graph.keys()) {
    const found = visit(path);
    if (found.length > 0) return found;
  }
  return [];
}

test('no imports run in a circle', () => {
  assert.deepEqual(circle(), []);
});

test('an engine is known to its thread alone', () => {
  const engine = 'node/engine/engine.ts';
  const knowing = sources.filter(({ imports }) => imports.includes(engine)).map(({ path }) => path);
  assert.deepEqual(knowing, ['node/process/worker.ts']);
});

/** All that is public of an engine: the compiler refuses one more, or one less. */
const ENGINE_MEMBERS: Record<keyof Engine, true> = {
  watch: true,
  run: true,
  pause: true,
  take: true,
  usePolicies: true,
};

test('an engine has at most six public members', () => {
  assert(Object.keys(ENGINE_MEMBERS).length <= 6);
});

test(`no file is longer than ${MAX_LINES} lines`, () => {
  const long = sources.filter(({ lines }) => lines > MAX_LINES).map(({ path }) => path);
  assert.deepEqual(long, []);
});

/** Words that are another's in TypeScript, or said nothing of what they stood for. */
const RETIRED = ['Promised', 'Answering', 'Handling', 'Kept', 'Arrival', 'Migration', 'Switchboard'];

test('nothing is called by a word that was given up', () => {
  const declared = new RegExp(`\\b(?:class|interface|type) \\w*(?:${RETIRED.join('|')})\\w*`, 'g');
  for (const { path } of sources) {
    const names = readFileSync(join(SRC, path), 'utf8').match(declared) ?? [];
    assert.deepEqual(names, [], path);
  }
});

test('no field in the handoff is taken to be there without a look: an assertion says why it is', () => {
  for (const { path } of sources.filter((source) => source.path.startsWith('handoff/'))) {
    const believed = readFileSync(join(SRC, path), 'utf8').match(/this\.#?\w+!/g) ?? [];
    assert.deepEqual(believed, [], path);
  }
});

test('nothing that a request makes is put together of literals that are spread: V8 does that member by member', () => {
  for (const { path } of sources.filter(({ path }) => /^(client|serve|handoff|protocol)\//.test(path))) {
    const spread = readFileSync(join(SRC, path), 'utf8').match(/\.\.\.\{/g) ?? [];
    assert.deepEqual(spread, [], path);
  }
});
