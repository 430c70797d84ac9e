/** Which addresses are in which networks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress } from '../../src/base/address.ts';
import { Networks, parseNetwork } from '../../src/base/networks.ts';

test('addresses at the edges of networks', () => {
  const rows: [string, string, boolean][] = [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['192.0.2.128/25', '192.0.2.127', false],
    ['192.0.2.128/25', '192.0.2.128', true],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7/32', '192.0.2.6', false],
    ['0.0.0.0/0', '203.0.113.1', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '2001:db8::1', true],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['2001:db8::/33', '2001:db8:8000::1', false],
    ['::1', '::1', true],
  ];
  for (const [network, address, isIn] of rows) {
    assert.equal(new Networks([network]).has(parseAddress(address)), isIn, `${address} in ${network}`);
  }
  assert.equal(new Networks([]).has(parseAddress('10.0.0.1')), false);
});

test('what is no network', () => {
  for (const text of [
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0/8',
    '10.0.0.0/8/8',
    'a/8',
    '10.0.0.0/-1',
  ])
    assert.equal(parseNetwork(text), null, text);
});

test('an address is in each of its own networks, and with one of their bits changed in none', () => {
  const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(v4, fc.integer({ min: 1, max: 32 }), fc.nat(31), (bytes, bits, change) => {
      const address = parseAddress(bytes.join('.'));
      const networks = new Networks([`${formatAddress(address)}/${bits}`]);
      assert.ok(networks.has(address));
      const other = Buffer.from(address);
      const bit = change % bits;
      other[12 + (bit >> 3)] ^= 0x80 >> (bit & 7);
      assert.ok(!networks.has(other));
    }),
  );
});
