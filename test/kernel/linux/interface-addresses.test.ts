import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { formatAddress, parseAddress } from '../../../src/base/address.ts';
import { SystemError } from '../../../src/kernel/linux/errors.ts';
import {
  bringUp,
  hardwareAddress,
  interfaceIndex,
  interfaceName,
} from '../../../src/kernel/linux/interface.ts';
import {
  addAddress,
  BATON_PROTOCOL,
  interfaceAddresses,
  removeAddress,
} from '../../../src/kernel/linux/interface-addresses.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';

describe('addresses of interfaces', { skip: skipWithoutRoot() }, () => {
  before(() => {
    privateNetwork();
    run('ip', 'link', 'add', 'v0', 'address', '02:00:00:00:00:01', 'type', 'veth', 'peer', 'name', 'v1');
  });

  const on = (name: string): string[] => {
    const device = interfaceIndex(name);
    return interfaceAddresses()
      .filter((one) => one.device === device)
      .map(
        (one) =>
          `${formatAddress(one.address)}/${one.prefixBits}${one.protocol === BATON_PROTOCOL ? ' ours' : ''}`,
      )
      .sort();
  };

  test("what is added is there as ip(8) would have it, and known as ours; others' is not", () => {
    bringUp('v0');
    bringUp('v0');
    run('ip', 'address', 'add', '192.0.2.9/32', 'dev', 'v0');
    for (const text of ['192.0.2.1', 'fd00::1']) {
      addAddress(interfaceIndex('v0'), parseAddress(text));
      addAddress(interfaceIndex('v0'), parseAddress(text));
    }
    const mine = on('v0').filter((line) => !line.startsWith('fe80'));
    assert.deepEqual(mine, ['192.0.2.1/32 ours', '192.0.2.9/32', 'fd00::1/128 ours']);
    // A kernel that keeps marks has marked its own.
    const loopback = interfaceAddresses().filter((one) => one.device === interfaceIndex('lo'));
    assert.ok(loopback.some((one) => one.protocol === 1));
    const shown = run('ip', '-o', 'address', 'show', 'dev', 'v0');
    assert.match(shown, /inet 192\.0\.2\.1\/32 scope global v0\\ +valid_lft forever/);
    assert.match(shown, /inet6 fd00::1\/128 scope global nodad noprefixroute \\ +valid_lft forever/);
  });

  test('what is removed is gone, and once more does no harm', () => {
    for (const text of ['192.0.2.1', 'fd00::1', '192.0.2.77']) {
      removeAddress(interfaceIndex('v0'), parseAddress(text));
      removeAddress(interfaceIndex('v0'), parseAddress(text));
    }
    assert.deepEqual(
      on('v0').filter((line) => !line.startsWith('fe80')),
      ['192.0.2.9/32'],
    );
    assert.throws(
      () => addAddress(4711, parseAddress('192.0.2.1')),
      (error) => error instanceof SystemError,
    );
  });

  test('names, indexes and hardware addresses', () => {
    assert.equal(interfaceName(interfaceIndex('v0')), 'v0');
    assert.equal(hardwareAddress('v0')!.toString('hex'), '020000000001');
    assert.equal(hardwareAddress('lo'), null);
    for (const call of [
      () => interfaceIndex('none'),
      () => interfaceName(4711),
      () => hardwareAddress('none'),
    ])
      assert.throws(call, (error) => error instanceof SystemError);
  });
});
