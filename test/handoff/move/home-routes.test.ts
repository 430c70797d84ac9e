/** Routes of connections that live elsewhere: how long they wait for an owner that cannot be reached. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { tupleToFrame } from '../../../src/handoff/flow/four-tuple.ts';
import { HomeRoutes, LOST_LIMIT_MS } from '../../../src/handoff/move/home-routes.ts';
import { FrameType } from '../../../src/protocol/backplane/frames.ts';
import type { Link } from '../../../src/protocol/backplane/link.ts';
import { RoutesModel } from '../cluster/routes.ts';

const OWNER = 2;
const ENDS = {
  client: { address: parseAddress('198.51.100.7'), port: 4711 },
  public: { address: parseAddress('192.0.2.80'), port: 80 },
};

function stand() {
  const clock = { nowMs: 1000 };
  const routes = new RoutesModel();
  const homeRoutes = new HomeRoutes({
    clock,
    routes,
    index: 0,
    self: 0,
    count: { add: () => {} },
    log: () => {},
    config: { nodes: [0, 1, OWNER].map(() => ({ engines: 1 })) as never },
    homeOf: () => 0,
    canServe: () => true,
    guests: { epochOf: () => null },
  });
  assert.ok(homeRoutes.divert(ENDS, OWNER, 1));
  return {
    homeRoutes,
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
  const from = (node: number) => ({ node, send: () => true }) as unknown as Link;
  homeRoutes.nodeDown(OWNER);
  assert.ok(pass(LOST_LIMIT_MS - 100));
  homeRoutes.route(from(OWNER), { type: FrameType.ROUTE, flow, epoch });
  assert.ok(pass(2 * LOST_LIMIT_MS));
  homeRoutes.nodeDown(OWNER);
  homeRoutes.route(from(1), { type: FrameType.ROUTE, flow, epoch: epoch - 1 });
  assert.equal(pass(LOST_LIMIT_MS), false);
});
