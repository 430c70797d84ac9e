/** The lock file is complete: `npm ci` installs exactly it, on every platform, and refuses whatever is not in it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}

const read = (name: string) => JSON.parse(readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8'));
const manifest = read('package.json') as Locked;
const { packages } = read('package-lock.json') as { packages: Record<string, Locked> };

test('the lock file was made from this package.json', () => {
  for (const key of ['dependencies', 'devDependencies'] as const)
    assert.deepEqual(packages['']![key], manifest[key]);
});

test('every package that any of them depends on is locked, those of other platforms too', () => {
  for (const [path, one] of Object.entries(packages)) {
    const names = Object.keys({ ...one.dependencies, ...one.optionalDependencies, ...one.devDependencies });
    for (const name of names) {
      const isLocked = `node_modules/${name}` in packages || `${path}/node_modules/${name}` in packages;
      assert.ok(
        isLocked,
        `${path || 'package.json'} needs ${name}: npm install --package-lock-only, in a folder without node_modules`,
      );
    }
  }
});

test('every locked package has a hash', () => {
  const bare = Object.entries(packages).filter(
    ([path, one]) => path !== '' && !one.integrity?.startsWith('sha512-'),
  );
  assert.deepEqual(bare, []);
});
