/** What `baton explain` says of a request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExplainedAuto } from '../../../src/handoff/mechanism/auto.ts';
import type { Explanation } from '../../../src/node/engine/explain.ts';
import { describeExplanation } from '../../../src/tools/cli/explain.ts';

const URL = 'http://h.test/x';
const AUTO: ExplainedAuto = {
  bytes: 1024,
  known: 'learnt',
  anchorPermille: 125,
  targetPermille: 20,
  byteTimes: 1,
  cases: [
    {
      connection: 'new, goes on',
      row: 'relay',
      estimates: [
        { row: 'relay', us: 80, whyNot: null },
        { row: 'anchor', us: 150, whyNot: null },
        { row: 'clone', us: null, whyNot: 'it goes on' },
      ],
    },
  ],
};

const lines = (changes: Partial<Explanation>): string[] =>
  describeExplanation(URL, 'a', {
    site: 's',
    policy: 'hash',
    node: 'b',
    mechanism: 'auto',
    auto: AUTO,
    ...changes,
  });

test('what there is nothing to choose of is one line', () => {
  assert.deepEqual(lines({ site: null, policy: null, auto: null }), [
    `${URL}: no site has this host; node a says so`,
  ]);
  assert.deepEqual(lines({ node: 'a', mechanism: 'local', auto: null }), [
    `${URL}: node a, which is this one (site s, policy hash): mechanism local`,
  ]);
  assert.deepEqual(lines({ mechanism: 'clone', auto: null }), [
    `${URL}: node b (site s, policy hash) by mechanism clone, which is configured`,
  ]);
});

test('of mechanism auto each row’s estimate, and why the others were not taken', () => {
  const text = lines({}).join('\n');
  assert.match(text, /1024 bytes, as its responses had on average/);
  assert.match(text, /a 12\.5 %, b 2 % busy/);
  assert.match(text, /new, goes on +80 +150 +- +relay/);
  assert.match(text, /^clone, -: it goes on$/m);
  for (const row of ['local', 'split', 'migrate']) assert.match(text, new RegExp(`^${row}`, 'm'));
});
