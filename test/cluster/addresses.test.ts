/** Which connections can be clients' of the cluster. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import type { ClusterConfig } from '../../src/base/config/config.ts';
import { Addresses } from '../../src/cluster/addresses.ts';

const addresses = new Addresses({
  nodes: [
    { address: '10.0.0.1', address6: '2001:db8::1', public: ['10.0.0.101', '2001:db8::101'] },
    { address: '10.0.0.2', address6: null, public: ['10.0.0.102'] },
  ],
  listen: { port: 80, tlsPort: 443 },
} as unknown as ClusterConfig);

const canServe = (client: string, pub: string, clientPort = 40_000, publicPort = 80) =>
  addresses.canServe(
    { address: parseAddress(client), port: clientPort },
    { address: parseAddress(pub), port: publicPort },
  );

test('a public address has a home', () => {
  const home = (address: string) => addresses.homeOf(parseAddress(address));
  assert.deepEqual(
    ['10.0.0.101', '2001:db8::101', '10.0.0.102', '10.0.0.1', '10.0.0.9'].map(home),
    [0, 0, 1, -1, -1],
  );
});

test('a client comes from elsewhere, to a public address, at a port that clients connect to', () => {
  assert.ok(canServe('192.0.2.1', '10.0.0.101'));
  assert.ok(canServe('10.0.0.3', '10.0.0.102'));
  assert.ok(canServe('192.0.2.1', '10.0.0.101', 40_000, 443));
  assert.ok(canServe('2001:db8::2', '2001:db8::101'));
  assert.ok(!canServe('192.0.2.1', '10.0.0.1'), 'no public address');
  assert.ok(!canServe('192.0.2.1', '10.0.0.101', 40_000, 22), 'another port');
  assert.ok(!canServe('192.0.2.1', '10.0.0.101', 0), 'no client port');
  assert.ok(!canServe('192.0.2.1', '2001:db8::101'), 'two families');
  for (const client of [
    '10.0.0.1',
    '10.0.0.2',
    '10.0.0.101',
    '10.0.0.102',
    '0.0.0.0',
    '127.0.0.1',
    '224.0.0.1',
  ])
    assert.ok(!canServe(client, '10.0.0.102'), client);
  for (const client of ['255.255.255.255', '0.1.2.3']) assert.ok(!canServe(client, '10.0.0.102'), client);
  for (const client of ['2001:db8::1', '2001:db8::101', '::', '::1', 'ff02::1'])
    assert.ok(!canServe(client, '2001:db8::101'), client);
});
