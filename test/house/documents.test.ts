/** What the documents point to is there, the walk of one request too; README fits on three screens. */
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

test('the walk of one request in docs/architecture.md goes by functions that there are', () => {
  const document = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
  const [, walk] = document.split('### One request, from file to file');
  const names = walk
    .split('\n**')[0]
    .matchAll(/`([A-Z]\w+)\.(#?\w+)`|`([A-Z][a-z]\w+)`|`([a-z]+_[a-z]+|take[A-Z]\w+)`/g);
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(?:ts|h)$/.test(name))
    .map((name) => readFileSync(join(ROOT, 'src', name), 'utf8'));
  let found = 0;
  for (const [name, owner, method, alone, plain] of names) {
    found++;
    if (plain !== undefined) {
      assert(
        sources.some((text) => new RegExp(`\\b${plain}\\(`).test(text)),
        name,
      );
      continue;
    }
    const type = new RegExp(`\\b(?:class|interface) ${owner ?? alone}\\b`);
    const source = sources.find((text) => type.test(text));
    assert(source !== undefined, `no ${name}`);
    if (method !== undefined)
      assert(new RegExp(`^  [\\w ]*${method}[(<]`, 'm').test(source), `${owner} has no ${method}`);
  }
  assert(found > 30, `${found} names`);
});
