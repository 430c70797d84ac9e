/** docs/protocol.md names every frame, with its number and who says it, as the table of frames does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { FRAME_TABLE } from '../../../src/protocol/backplane/frame-table.ts';
import {
  AbortReason,
  type FrameName,
  FrameType,
  RejectReason,
} from '../../../src/protocol/backplane/frames.ts';
import { byType } from './generators.ts';

const read = (path: string) => readFileSync(new URL(`../../../../${path}`, import.meta.url), 'utf8');
const document = read('docs/protocol.md');

/** `1 to 3, 5` as numbers. */
function numbers(list: string): number[] {
  return list.split(', ').flatMap((part) => {
    const [from, to = from] = part.split(' to ').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

const headings = [...document.matchAll(/^### ([A-Z_]+) \((\d+)\), ([^:\n]+)/gm)].map(
  ([, name, type, way]) => ({ name: name as FrameName, type: Number(type), way }),
);

test('every frame has its section, and no other has one', () => {
  assert.deepEqual(Object.fromEntries(headings.map(({ name, type }) => [name, type])), { ...FrameType });
  assert.equal(headings.length, Object.keys(FrameType).length);
});

test('the sections say who speaks, as the table does', () => {
  const speakers: Record<string, readonly string[]> = {
    'anchor to target': ['opener'],
    'target to anchor': ['taker'],
    'initiator to target': ['opener'],
    'target to initiator': ['taker'],
    'both directions': ['either', 'link'],
    'the first frame in each direction': ['link'],
    'owner to home': ['link'],
    'home to owner': ['link'],
  };
  for (const { name, way } of headings)
    assert.ok(speakers[way]?.includes(FRAME_TABLE[name].speaker), `${name}: ${way}`);
});

test('the header’s row lists all types', () => {
  const [, list] = /\| 4 +\| 1 +\| type +\| ([^|]+) \|/.exec(document)!;
  assert.deepEqual(
    numbers(list.trim()),
    Object.values(FrameType).sort((a, b) => a - b),
  );
});

test('the frames that a link may refuse are those that the document names', () => {
  const [, list] = /no room on a link for a frame other than ([^.]+?) closes it/.exec(document)!;
  const names = Object.keys(FRAME_TABLE).filter((name) => FRAME_TABLE[name as FrameName].bulk);
  assert.deepEqual(list.split(/, | and /).sort(), names.sort());
});

test('a frame bears a conversation’s number when somebody in it speaks', () => {
  for (const [name, type] of Object.entries(FrameType)) {
    const [example] = fc.sample(byType[name as FrameName], 1);
    assert.equal(example.type, type);
    assert.equal('request' in example, FRAME_TABLE[name as FrameName].speaker !== 'link', name);
  }
});

test('the document lists all reasons', () => {
  for (const [name, reasons] of Object.entries({ SETUP_REJECT: RejectReason, ABORT: AbortReason })) {
    const [, list] = new RegExp(`### ${name} [^#]*?\\| reason +\\| ([^|]+) \\|`).exec(document)!;
    const listed = [...list.matchAll(/(?:^|, )(\d+) /g)].map(([, number]) => Number(number));
    assert.deepEqual(listed, Object.values(reasons), name);
  }
});
