/** The mechanism table, and what docs/architecture.md shows of it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MECHANISM_ROWS } from '../../../src/base/config/config.ts';
import { MECHANISM_TABLE } from '../../../src/handoff/mechanism/table.ts';

const DOCUMENT = new URL('../../../../docs/architecture.md', import.meta.url);
const COLUMNS = [
  'mechanism',
  'in-half',
  'out-half',
  'how the end is learnt',
  'who ends the connection',
  'next request',
  'else',
];

test('docs/architecture.md shows the table as it is', () => {
  const rows = MECHANISM_ROWS.map((name) => {
    const { inHalf, outHalf, endBy, closes, next, otherwise } = MECHANISM_TABLE[name];
    return [`\`${name}\``, inHalf, outHalf, endBy, closes, next, otherwise ?? ''];
  });
  const lines = [COLUMNS, COLUMNS.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  const table = lines.join('\n').replaceAll('|  |', '| |');
  assert.ok(readFileSync(DOCUMENT, 'utf8').includes(table), `docs/architecture.md lacks:\n${table}`);
});

test('every row falls back to one that is always there', () => {
  for (const name of MECHANISM_ROWS) {
    let row: (typeof MECHANISM_ROWS)[number] | null = name;
    const way: string[] = [];
    for (; row !== null; row = MECHANISM_TABLE[row].otherwise) {
      assert.ok(!way.includes(row), `${name} falls back in a circle: ${way}`);
      way.push(row);
    }
    assert.equal(way.at(-1), 'local');
  }
});
