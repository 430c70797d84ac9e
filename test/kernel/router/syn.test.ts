/** Rule syn-ends-flow: whether a SYN begins a new connection is the kernel's to say, so here it has real sockets. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, SYN } from './frames.ts';
import {
  assertResult,
  CLIENT_PORT,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  Stand,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const BASE = 1_000_000;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, own } of FAMILIES)
    for (const address of [client, own])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand();
});
after(() => {
  if (skip === false) stand.close();
});

const at = (address: string, port: number) => ({ address: parseAddress(address), port });

/** A flow of this node as anchor. Returns its slot. */
function install(family: Family, flags: number): number {
  const rules = { ...ranges.emptyRules(layout.ROLE_ANCHOR), flags, ownNext: BASE };
  ranges.beginOwn(rules, BASE);
  return stand.install(family.client, family.own, rules, { ack: BASE, edge: BASE, sentNext: BASE });
}

/** A SYN passes whatever is there; says whether the flow's entry has gone with it. */
function ends(family: Family, flags: number): boolean {
  const slot = install(family, flags);
  const sent = fromClient(family, family.own, { flags: SYN });
  const result = stand.run('baton_ingress', sent);
  const gone = stand.engine.flows.installed(at(family.client, CLIENT_PORT), at(family.own, PUBLIC_PORT)) < 0;
  assertResult(result, sent, { verdict: UNSPEC, counts: gone ? { syn_ended: 1 } : {} });
  stand.engine.flows.uninstall(slot);
  stand.engine.flows.release(slot);
  return gone;
}

for (const family of FAMILIES) {
  test(`${family.name}: syn-ends-flow`, { skip }, () => {
    for (const flags of [0, layout.FLAG_CLOSING])
      assert.equal(ends(family, flags), true, 'no socket: the client has reset it');
    const listener = sockets.listenOn(at(family.own, PUBLIC_PORT), 1);
    const client = sockets.tcpSocket(parseAddress(family.client));
    sockets.bindTo(client, at(family.client, CLIENT_PORT));
    assert.equal(ends(family, 0), true, 'a listener is no socket of the connection');
    sockets.connectTo(client, at(family.own, PUBLIC_PORT));
    const accepted = sockets.acceptFrom(listener);
    assert.ok(accepted >= 0);
    assert.equal(ends(family, 0), false, 'established: the kernel challenges it');
    libc.shutdown(accepted, sockets.SHUT_WR);
    assert.equal(ends(family, layout.FLAG_CLOSING), false, 'half closed: the same');
    libc.close(client);
    // The engine has shut its half, and has not yet read that the client has as well.
    assert.equal(ends(family, 0), true, 'TIME-WAIT');
    libc.close(accepted);
    assert.equal(ends(family, layout.FLAG_CLOSING), true, 'and closed');
    libc.close(listener);
  });

  test(`${family.name}: other segments end no flow`, { skip }, () => {
    const slot = install(family, layout.FLAG_CLOSING);
    stand.run('baton_ingress', fromClient(family, family.own, { flags: ACK, ack: BASE }));
    assert.equal(
      stand.engine.flows.installed(at(family.client, CLIENT_PORT), at(family.own, PUBLIC_PORT)),
      slot,
    );
    stand.engine.flows.uninstall(slot);
    stand.engine.flows.release(slot);
  });
}
