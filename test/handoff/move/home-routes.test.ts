/** Routes of connections that live elsewhere: how long they wait for an owner that cannot be reached, and whom they believe. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { LOST_LIMIT_MS } from '../../../src/handoff/flow/agreed.ts';
import { tupleToFrame } from '../../../src/handoff/flow/four-tuple.ts';
import { HomeRoutes } from '../../../src/handoff/move/home-routes.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import { OWNER_PARKED, OWNER_SELF } from '../../../src/kernel/router/layout.ts';
import { FrameType } from '../../../src/protocol/backplane/frames.ts';
import type { Link } from '../../../src/protocol/backplane/link.ts';
import { RoutesModel } from '../cluster/routes.ts';

const OWNER = 2;
const PUBLIC = { address: parseAddress('192.0.2.80'), port: 80 };
const endsOf = (port: number) => ({
  client: { address: parseAddress('198.51.100.7'), port },
  public: PUBLIC,
});
const ENDS = endsOf(4711);
const from = (node: number) => ({ node, send: () => true }) as unknown as Link;

function stand() {
  const clock = { nowMs: 1000 };
  const routes = new RoutesModel();
  /** The kernel's sockets, by the client's port. */
  const states = new Map<number, number>();
  /** Of public addresses, by their last byte; all others are this node's. */
  const homes = new Map<number, number>();
  const counts: string[] = [];
  const inherited: number[] = [];
  const homeRoutes = new HomeRoutes({
    clock,
    routes,
    index: 0,
    self: 0,
    count: { add: (name) => counts.push(name) },
    sockets: { of: (_local, { port }) => states.get(port) ?? TcpState.CLOSE },
    log: () => {},
    config: { nodes: [0, 1, OWNER].map(() => ({ engines: 1 })) as never },
    homeOf: (address) => homes.get(address.at(-1)!) ?? 0,
    canServe: () => true,
    guests: { epochOf: () => null },
    forwards: { inherit: (_ends, node) => inherited.push(node) },
  });
  assert.ok(homeRoutes.divert(ENDS, OWNER, 1));
  return {
    homeRoutes,
    routes,
    states,
    counts,
    homes,
    inherited,
    /** Time passes, in rounds; returns whether the route is still there. */
    pass(ms: number): boolean {
      for (const endMs = clock.nowMs + ms; clock.nowMs < endMs; ) {
        clock.nowMs += 100;
        homeRoutes.tick(clock.nowMs);
      }
      return routes.size === 1;
    },
  };
}

test('a route waits so long for an owner without a link, and no longer', () => {
  const { homeRoutes, pass } = stand();
  assert.ok(pass(2 * LOST_LIMIT_MS), 'its link is up');
  homeRoutes.nodeDown(1);
  homeRoutes.nodeDown(OWNER);
  assert.ok(pass(LOST_LIMIT_MS - 100));
  assert.equal(pass(100), false);
  assert.equal(homeRoutes.size, 0);
});

test('an owner that says in time that it has the connection keeps it, and one that is no longer its owner does not', () => {
  const { homeRoutes, pass } = stand();
  const [flow, epoch] = [tupleToFrame(ENDS), 1];
  homeRoutes.nodeDown(OWNER);
  assert.ok(pass(LOST_LIMIT_MS - 100));
  homeRoutes.route(from(OWNER), { type: FrameType.ROUTE, flow, epoch });
  assert.ok(pass(2 * LOST_LIMIT_MS));
  homeRoutes.nodeDown(OWNER);
  homeRoutes.route(from(1), { type: FrameType.ROUTE, flow, epoch: epoch - 1 });
  assert.equal(pass(LOST_LIMIT_MS), false);
});

test('a connection that this node has itself is nobody else’s, whatever they say', () => {
  const SYN_RECV = 12;
  const { homeRoutes, routes, states, counts } = stand();
  const say = (port: number) =>
    homeRoutes.route(from(OWNER), { type: FrameType.ROUTE, flow: tupleToFrame(endsOf(port)), epoch: 5 });
  for (const [port, state] of [
    TcpState.ESTABLISHED,
    TcpState.CLOSE_WAIT,
    TcpState.FIN_WAIT2,
    SYN_RECV,
  ].entries()) {
    states.set(port, state);
    say(port);
    assert.equal(routes.owner(endsOf(port).client, PUBLIC), 0);
  }
  // It has come back to another engine here.
  routes.set(endsOf(0).client, PUBLIC, OWNER_SELF);
  say(0);
  assert.equal(routes.owner(endsOf(0).client, PUBLIC), OWNER_SELF);
  assert.deepEqual(counts, Array(5).fill('routes_refused'));
});

test('a connection that is given away just now, or is over here, belongs to who says so', () => {
  const { homeRoutes, routes, states } = stand();
  const say = (port: number) =>
    homeRoutes.route(from(OWNER), { type: FrameType.ROUTE, flow: tupleToFrame(endsOf(port)), epoch: 5 });
  states.set(1, TcpState.TIME_WAIT);
  // Another engine here gives it away: its socket closes a moment after the route is set.
  states.set(2, TcpState.ESTABLISHED);
  routes.set(endsOf(2).client, PUBLIC, OWNER + 1);
  states.set(3, TcpState.ESTABLISHED);
  routes.set(endsOf(3).client, PUBLIC, OWNER_PARKED);
  for (const port of [0, 1, 2, 3]) {
    say(port);
    assert.equal(routes.owner(endsOf(port).client, PUBLIC), OWNER + 1);
  }
});

test('of what a predecessor left, own connections wait for their owners, others are sent on for a while, the rest goes', () => {
  const { homeRoutes, routes, homes, inherited, pass } = stand();
  const pub = (last: number) => ({ address: parseAddress(`192.0.2.${last}`), port: 80 });
  homes.set(81, 1).set(82, -1);
  const { client } = ENDS;
  routes.set(client, PUBLIC, OWNER + 1);
  routes.set(client, pub(81), OWNER + 1);
  routes.set(client, pub(82), OWNER + 1);
  routes.set(endsOf(2).client, PUBLIC, OWNER_PARKED);
  routes.set(endsOf(3).client, PUBLIC, OWNER_SELF);
  homeRoutes.inherit();
  assert.deepEqual(inherited, [OWNER]);
  assert.equal(homeRoutes.size, 1);
  assert.equal(routes.size, 2);
  pass(LOST_LIMIT_MS);
  assert.equal(homeRoutes.size, 0);
});
