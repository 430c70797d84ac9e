/** Which of a booster's clients go back to their origins, and how many at a time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectionState } from '../../../src/client/connection-state.ts';
import { RETURNS_A_ROUND, Returning } from '../../../src/node/engine/returning.ts';

const [A, B] = [0, 1];

class ClientModel {
  readonly fd: number;
  state: ConnectionState;
  asked = 0;
  /** What it becomes when it is asked to go. */
  readonly #becomes: ConnectionState;

  constructor(fd: number, state: ConnectionState, becomes: ConnectionState = 'moving') {
    this.fd = fd;
    this.state = state;
    this.#becomes = becomes;
  }

  leaveFor(node: number, hasTo?: boolean): void {
    assert.deepEqual([node, hasTo], [this.fd % 2, false], 'to its origin, and it is not closed');
    this.asked++;
    this.state = this.#becomes;
  }
}

/** Clients with even descriptors are of a, the others of b. `taking`: origins that take theirs back. */
function stand(all: readonly ClientModel[], taking: readonly number[], room = { hasRoomToLeave: true }) {
  const counts = new Map([A, B].map((origin) => [origin, all.filter(({ fd }) => fd % 2 === origin).length]));
  const boosted = { counts, originOf: (fd: number) => fd % 2 };
  return new Returning(boosted, { all }, { takesBack: (node) => taking.includes(node) }, room);
}

const resting = (count: number) => Array.from({ length: count }, (_, i) => new ClientModel(i, 'head'));

test('those that rest go to the origin that takes them; those of another, and those in a request, stay', () => {
  const all = [...resting(4), new ClientModel(4, 'busy'), new ClientModel(6, 'body')];
  stand(all, [A]).round();
  assert.deepEqual(
    all.map(({ asked }) => asked),
    [1, 0, 1, 0, 0, 0],
  );
  stand(all, []).round();
  assert.equal(all[1].asked, 0);
});

test('so many a round, and none while others are under way', () => {
  const all = resting(4 * RETURNS_A_ROUND);
  const moving = () => all.filter(({ state }) => state === 'moving').length;
  const returning = stand(all, [A, B]);
  returning.round();
  assert.equal(moving(), RETURNS_A_ROUND);
  returning.round();
  assert.equal(moving(), 2 * RETURNS_A_ROUND);
  stand(all, [A, B], { hasRoomToLeave: false }).round();
  assert.equal(moving(), 2 * RETURNS_A_ROUND);
});

test('one that cannot go now takes no place of another', () => {
  const stuck = Array.from({ length: RETURNS_A_ROUND }, (_, i) => new ClientModel(2 * i, 'head', 'head'));
  const last = new ClientModel(2 * RETURNS_A_ROUND, 'head');
  stand([...stuck, last], [A]).round();
  assert.equal(last.state, 'moving');
});
