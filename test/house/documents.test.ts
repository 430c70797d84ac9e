/** What the documents point to is there; README fits on three screens. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const README_LINES = 150;
const documents = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']
  .concat(readdirSync(join(ROOT, 'docs')).map((name) => join('docs', name)))
  .filter((name) => name.endsWith('.md'));

/** A heading's anchor, as forges make it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function anchorsOf(file: string): Set<string> {
  const headings = readFileSync(join(ROOT, file), 'utf8').matchAll(/^#+ (.+)$/gm);
  return new Set([...headings].map(([, heading]) => anchorOf(heading)));
}

test('README is short', () => {
  assert(readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n').length <= README_LINES);
});

for (const file of documents) {
  const text = readFileSync(join(ROOT, file), 'utf8');

  test(`the links of ${file} lead somewhere`, () => {
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split('#');
      const named = path === '' ? file : join(dirname(file), path);
      assert(existsSync(join(ROOT, named)), `${file}: no ${target}`);
      if (anchor !== undefined) assert(anchorsOf(named).has(anchor), `${file}: no heading for ${target}`);
    }
  });

  test(`the files that ${file} names exist`, () => {
    for (const [path] of text.matchAll(
      /(?<!dist\/)\b(?:src|test|bench|examples|scripts|docs)\/[\w./-]*\w/g,
    )) {
      assert(existsSync(join(ROOT, path)), `${file}: no ${path}`);
    }
  });
}
