/** The clients of a killed process are told by the next one: each, whatever becomes of the others. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { SystemError } from '../../../src/kernel/linux/errors.ts';
import { resetLeft } from '../../../src/kernel/router/left-flows.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';

/** Packets that have come in this thread's network namespace, of IPv4: from itself, and handled when they are sent. */
function arrived(): number {
  const [names, values] = readFileSync('/proc/thread-self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Ip:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('InReceives')]);
}

test('a client that no route leads to keeps none behind it from being told', {
  skip: skipWithoutRoot(),
}, () => {
  privateNetwork();
  const flow = (address: string) => ({
    client: { address: parseAddress(address), port: 40_000 },
    public: { address: parseAddress('127.0.0.1'), port: 80 },
    expected: 1000,
  });
  const flows = ['127.0.0.2', '192.0.2.1', '2001:db8::1', '127.0.0.3', '127.0.0.4'].map(flow);
  const before = arrived();
  assert.throws(() => resetLeft(flows), SystemError);
  // Loopback has no socket for them, and says nothing to a reset.
  assert.equal(arrived() - before, 3);
});
