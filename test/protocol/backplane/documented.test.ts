/** docs/protocol.md names every frame, with its number, and the comment of the codec the same numbers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FrameType } from '../../../src/protocol/backplane/frames.ts';

const read = (path: string) => readFileSync(new URL(`../../../../${path}`, import.meta.url), 'utf8');
const document = read('docs/protocol.md');

/** `1 to 3, 5` as numbers. */
function numbers(list: string): number[] {
  return list.split(', ').flatMap((part) => {
    const [from, to = from] = part.split(' to ').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

test('every frame has its section, and no other has one', () => {
  const headings = [...document.matchAll(/^### ([A-Z_]+) \((\d+)\)/gm)].map(([, name, type]) => [
    name,
    Number(type),
  ]);
  assert.deepEqual(Object.fromEntries(headings), { ...FrameType });
  assert.equal(headings.length, Object.keys(FrameType).length);
});

test('the header’s row lists all types', () => {
  const types = Object.values(FrameType).sort((a, b) => a - b);
  for (const text of [document, read('src/protocol/backplane/frames.ts')]) {
    const [, list] = /\| 4 +\| 1 +\| type +\| ([^|]+) \|/.exec(text)!;
    assert.deepEqual(numbers(list.trim()), types);
  }
});
