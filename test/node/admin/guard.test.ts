import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Asked, refusal } from '../../../src/node/admin/guard.ts';

const DRAIN: Asked = {
  method: 'POST',
  path: '/api/drain',
  acts: true,
  host: 'localhost',
  origin: undefined,
  fetchSite: undefined,
  node: 'a',
  user: 0,
};
const code = (change: Partial<Asked>): string | undefined =>
  refusal({ ...DRAIN, ...change }, 'a', [0, 65534])?.code;

test('what acts is for root and the own user', () => {
  assert.deepEqual(
    [0, 65534, 1000, 0xffff_ffff, null].map((user) => code({ user })),
    [undefined, undefined, 'USER', 'USER', 'LOCAL_ONLY'],
  );
});

test('a Host that is no literal is refused however it is written', () => {
  const refused = [
    'a.example',
    'localhost.example',
    '127.0.0.1.example',
    '1.2.3',
    '',
    '[::1',
    'b',
    'a b',
    '[a]:80x',
  ];
  for (const host of refused) assert.equal(code({ host }), 'HOST', host);
  // A client of HTTP/1.0 may have none; no browser is one.
  for (const host of [undefined, 'localhost:1', 'A', '[::1]', '127.0.0.1:'])
    assert.equal(code({ host }), undefined, host);
});

test('the own origin is that of the Host, with its port', () => {
  const host = '127.0.0.1:9900';
  assert.equal(code({ host, origin: 'http://127.0.0.1:9900' }), undefined);
  for (const origin of ['http://127.0.0.1', 'https://127.0.0.1:9900', 'http://127.0.0.1:9901', 'null', ''])
    assert.equal(code({ host, origin }), 'ORIGIN', origin);
  for (const fetchSite of ['cross-site', 'same-site', 'x']) assert.equal(code({ fetchSite }), 'ORIGIN');
});
