/** By its number alone it is known who may send a frame. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isOpenedBy, maySend } from '../../../src/protocol/backplane/conversation.ts';
import { type Frame, FrameType } from '../../../src/protocol/backplane/frames.ts';

const OPENERS = ['SETUP', 'CONFIRM', 'WINDOW', 'RESET', 'MIGRATE', 'MIGRATE_DATA'];
const TAKERS = ['SETUP_OK', 'SETUP_REJECT', 'DATA_DONE', 'COLLECTED', 'RESET_OK', 'MIGRATE_OK'];
const BOTH = ['ABORT', 'RELAY_CREDIT'];

const frame = (name: string, request: number, requestBody = false): Frame =>
  ({ type: FrameType[name as keyof typeof FrameType], request, requestBody }) as unknown as Frame;

test('the dial end opens conversations with odd numbers, the accept end with even ones, nobody with 0', () => {
  assert.deepEqual(
    [0, 1, 2, 0xffff_fffe, 0xffff_ffff].map((id) => [isOpenedBy('dial', id), isOpenedBy('accept', id)]),
    [
      [false, false],
      [true, false],
      [false, true],
      [false, true],
      [true, false],
    ],
  );
});

test('each end says what is its to say', () => {
  for (const [role, own, other] of [
    ['dial', 7, 8],
    ['accept', 8, 7],
  ] as const) {
    for (const name of [...OPENERS, ...TAKERS, ...BOTH]) {
      assert.equal(maySend(role, frame(name, own)), !TAKERS.includes(name), `${role} ${name} own`);
      assert.equal(maySend(role, frame(name, other)), !OPENERS.includes(name), `${role} ${name} other's`);
      assert.equal(maySend(role, frame(name, 0)), false);
    }
    assert.equal(maySend(role, frame('RELAY_DATA', own, true)), true);
    assert.equal(maySend(role, frame('RELAY_DATA', own, false)), false);
    assert.equal(maySend(role, frame('RELAY_DATA', other, true)), false);
    assert.equal(maySend(role, frame('RELAY_DATA', other, false)), true);
    for (const name of ['LOAD', 'KEEPALIVE', 'ROUTE', 'CATALOGUE'])
      assert.ok(maySend(role, { type: FrameType[name as 'LOAD'] } as Frame));
  }
});
