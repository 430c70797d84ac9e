/** What upstreams are told of clients, and are not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { Networks } from '../../../src/base/networks.ts';
import { forwardRequestHead } from '../../../src/protocol/http/forward.ts';
import { clientFields, type ForwardRules } from '../../../src/protocol/http/forwarded.ts';
import { parsed } from './support.ts';

const trusted = new Networks(['10.0.0.0/8', '2001:db8::/32']);
const RULES: ForwardRules = {
  trusts: (address) => trusted.has(address),
  xForwarded: true,
  forwarded: true,
  xRealIp: true,
};

/** The field lines after Host that an upstream gets. */
function told(lines: string, peer: string | null, rules = RULES, start = 'GET / HTTP/1.1\r\nHost: a:80\r\n') {
  const head = parsed(`${start}${lines}\r\n`);
  const client = clientFields(head, peer === null ? null : parseAddress(peer), false, rules);
  const forwarded = forwardRequestHead(head, 'none', client).toString('latin1').trimEnd();
  return forwarded.split('\r\n').slice(2);
}

const SPOOFED =
  'X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n' +
  'X-Forwarded-Port: 1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nVia: 1.0 other\r\nAccept: x\r\n';

test('what a client says of itself is replaced', () => {
  assert.deepEqual(told(SPOOFED, '192.0.2.9'), [
    'Accept: x',
    'Via: 1.0 other, 1.1 baton',
    'X-Forwarded-For: 192.0.2.9',
    'X-Forwarded-Proto: http',
    'X-Forwarded-Host: a:80',
    'Forwarded: for=192.0.2.9;host="a:80";proto=http',
    'X-Real-IP: 192.0.2.9',
  ]);
});

test('what a trusted proxy says of its client is kept, and the proxy added', () => {
  assert.deepEqual(told(SPOOFED, '10.1.2.3'), [
    'X-Forwarded-Port: 1',
    'Accept: x',
    'Via: 1.0 other, 1.1 baton',
    'X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.1.2.3',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: evil',
    'Forwarded: for=1.1.1.1, for=10.1.2.3;host="a:80";proto=http',
    'X-Real-IP: 2.2.2.2',
  ]);
});

test('the real address is the nearest that is no trusted proxy', () => {
  const rows: [string, string, string][] = [
    ['', '10.0.0.1', '10.0.0.1'],
    ['X-Forwarded-For: 9.9.9.9, 10.0.0.2\r\n', '10.0.0.1', '9.9.9.9'],
    ['X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n', '10.0.0.1', '10.0.0.3'],
    ['X-Forwarded-For: 9.9.9.9, junk\r\n', '10.0.0.1', '10.0.0.1'],
    ['X-Forwarded-For: 2001:db8::9, 2001:db8::8\r\n', '2001:db8::1', '2001:db8::9'],
  ];
  for (const [lines, peer, real] of rows) assert.equal(told(lines, peer).at(-1), `X-Real-IP: ${real}`);
});

test('IPv6, HTTP/1.0 without Host, an unknown client, and nothing by choice', () => {
  const v6 = told('', '2001:db9::1', RULES, 'GET / HTTP/1.1\r\nHost: [::1]\r\n');
  assert.ok(v6.includes('Forwarded: for="[2001:db9::1]";host="[::1]";proto=http'), v6.join());
  assert.ok(v6.includes('X-Forwarded-For: 2001:db9::1'));
  assert.deepEqual(told('', null, RULES, 'GET / HTTP/1.0\r\n'), [
    'Via: 1.0 baton',
    'X-Forwarded-Proto: http',
    'Forwarded: for=unknown;proto=http',
  ]);
  const none = { ...RULES, xForwarded: false, forwarded: false, xRealIp: false };
  assert.deepEqual(told(SPOOFED, '192.0.2.9', none), ['Accept: x', 'Via: 1.0 other, 1.1 baton']);
});

test('names that an upstream may take for others do not go on', () => {
  const names = [
    'Transfer_Encoding',
    'Content_Length',
    'Content.Length',
    'X_Forwarded_For',
    'X!y',
    "X'y",
    '~',
    'x|y',
  ];
  const lines = names.map((name) => `${name}: 1\r\n`).join('');
  const none = { ...RULES, xForwarded: false, forwarded: false, xRealIp: false };
  assert.deepEqual(told(`${lines}X-Good-1: 2\r\n`, '192.0.2.9', none), ['X-Good-1: 2', 'Via: 1.1 baton']);
});
