/** Guests at their own home: whose route goes with them. */
import assert from 'node:assert';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { FLOW_LINGER_MS } from '../../../src/handoff/flow/agreed.ts';
import { tupleKey } from '../../../src/handoff/flow/four-tuple.ts';
import { Guests, type GuestsPorts } from '../../../src/handoff/move/guests.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import { OWNER_SELF } from '../../../src/kernel/router/layout.ts';

const HOME = 1;
const ELSEWHERE = 3;
const ENDS = {
  client: { address: parseAddress('198.51.100.7'), port: 4711 },
  public: { address: parseAddress('192.0.2.80'), port: 80 },
};

function stand() {
  const routes = new Map<string, number>();
  const key = (client: typeof ENDS.client, pub: typeof ENDS.public) => tupleKey({ client, public: pub });
  const ports: GuestsPorts = {
    index: 0,
    self: HOME,
    config: { nodes: [] },
    linkFor: () => undefined,
    homeOf: () => HOME,
    clock: { nowMs: 0 },
    homeRoutes: { returned: () => {} },
    sockets: { of: () => TcpState.CLOSE },
    routes: {
      set: (client: typeof ENDS.client, pub: typeof ENDS.public, owner: number) => {
        routes.set(key(client, pub), owner);
        return true;
      },
      owner: (client: typeof ENDS.client, pub: typeof ENDS.public) => routes.get(key(client, pub)) ?? 0,
      delete: (client: typeof ENDS.client, pub: typeof ENDS.public) => routes.delete(key(client, pub)),
    },
  };
  return { routes, guests: new Guests(ports) };
}

test('the route that keeps a connection here goes with it', () => {
  const { routes, guests } = stand();
  guests.ended(guests.arrive(ENDS, 1));
  assert.deepEqual([...routes.values()], [OWNER_SELF]);
  guests.tick(FLOW_LINGER_MS);
  assert.deepEqual([...routes.values()], []);
  assert.equal(guests.size, 0);
});

test('the route of a next connection, which another engine gave away, stays', () => {
  const { routes, guests } = stand();
  guests.ended(guests.arrive(ENDS, 1));
  routes.set(tupleKey(ENDS), ELSEWHERE);
  guests.tick(FLOW_LINGER_MS);
  assert.deepEqual([...routes.values()], [ELSEWHERE]);
  assert.equal(guests.size, 0);
});
