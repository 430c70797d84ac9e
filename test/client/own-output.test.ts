/** What a connection says by itself, into a socket that takes what it likes. */
import assert from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { OwnOutput } from '../../src/client/own-output.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../../src/serve/byte-sink.ts';

/** A socket that answers each send by the next of `answers`: how many bytes it takes, BLOCKED or BROKEN; then all. */
function socket(answers: number[]) {
  const taken: Buffer[] = [];
  const out: ByteSink = {
    send: (bytes, from, more, last) => {
      assert.deepEqual([from, more, last], [0, false, true]);
      const answer = Math.min(answers.shift() ?? bytes.length, bytes.length);
      if (answer > 0) taken.push(Buffer.from(bytes.subarray(0, answer)));
      return answer;
    },
    sendFile: () => assert.fail('it sends no file'),
    flush: () => 0,
  };
  return { output: new OwnOutput(() => out), said: () => Buffer.concat(taken).toString() };
}

test('it is said at once where there is room', () => {
  const { output, said } = socket([]);
  assert.ok(output.say(Buffer.from('continue')));
  assert.deepEqual([output.waits, said()], [false, 'continue']);
  assert.ok(output.flush(), 'and once');
  assert.equal(said(), 'continue');
});

test('without room it waits, for as long as that lasts', () => {
  const { output, said } = socket([BLOCKED, BLOCKED, 3, BLOCKED]);
  assert.ok(output.say(Buffer.from('continue')));
  assert.ok(output.flush());
  assert.deepEqual([output.waits, said()], [true, '']);
  assert.ok(output.flush());
  assert.deepEqual([output.waits, said()], [true, 'con']);
  assert.ok(output.flush());
  assert.deepEqual([output.waits, said()], [false, 'continue']);
});

test('what waits can be withdrawn until something of it is out', () => {
  const { output, said } = socket([BLOCKED, 3, BLOCKED]);
  output.say(Buffer.from('continue'));
  assert.ok(output.withdraw());
  assert.equal(output.waits, false);
  output.say(Buffer.from('continue'));
  assert.equal(output.withdraw(), false);
  output.flush();
  assert.equal(said(), 'continue');
  assert.ok(output.withdraw(), 'nothing waits');
});

test('a socket that has failed', () => {
  const { output } = socket([BLOCKED, BROKEN]);
  assert.ok(output.say(Buffer.from('continue')));
  assert.equal(output.flush(), false);
});

test('everything that is said comes out, in order, whatever the socket takes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 5 })),
      fc.array(fc.oneof(fc.constant(BLOCKED), fc.integer({ min: 1, max: 6 }))),
      (words, answers) => {
        const { output, said } = socket([...answers]);
        for (const word of words) assert.ok(output.say(Buffer.from(word)));
        for (let turn = 0; output.waits; turn++) {
          assert.ok(turn <= answers.length, 'it goes on');
          assert.ok(output.flush());
        }
        assert.equal(said(), words.join(''));
      },
    ),
  );
});
