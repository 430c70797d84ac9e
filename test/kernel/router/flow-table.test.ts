import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { CLIENT_PORT, FAMILIES, PUBLIC_PORT, Stand } from './stand.ts';

const skip = skipWithoutRoot();
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand();
});
after(() => {
  if (skip === false) stand.close();
});

for (const { name, client, own } of FAMILIES) {
  test(`${name}: a connection has one slot, and only who has it can take it away`, { skip }, () => {
    const { flows } = stand.engine;
    const ends = {
      client: { address: parseAddress(client), port: CLIENT_PORT },
      public: { address: parseAddress(own), port: PUBLIC_PORT },
    };
    const [first, second] = [flows.allocate(), flows.allocate()];
    const claim = (slot: number) => flows.claim(ends.client, ends.public, slot);
    assert.equal(claim(first), true);
    assert.equal(claim(second), false);
    assert.equal(claim(first), true, 'its own already');
    assert.deepEqual([flows.isInstalled(first), flows.isInstalled(second)], [true, false]);
    assert.deepEqual(flows.tupleOf(first), ends);
    flows.uninstall(second);
    assert.equal(flows.installed(ends.client, ends.public), first);
    flows.uninstall(first);
    assert.equal(flows.installed(ends.client, ends.public), -1);
    assert.equal(claim(second), true);
    flows.uninstall(second);
    flows.release(first);
    flows.release(second);
  });
}
