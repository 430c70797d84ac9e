/** Guests that end: at their own home, whose route goes with them, and elsewhere, where the home is told; and that move on. */
import assert from 'node:assert';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS, LOST_LIMIT_MS } from '../../../src/handoff/flow/agreed.ts';
import { tupleKey, tupleToFrame } from '../../../src/handoff/flow/four-tuple.ts';
import { Forwards, type ForwardsPorts } from '../../../src/handoff/move/forwards.ts';
import { Guests, type GuestsPorts } from '../../../src/handoff/move/guests.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import { OWNER_SELF } from '../../../src/kernel/router/layout.ts';
import { type Frame, FrameType } from '../../../src/protocol/backplane/frames.ts';
import type { Link } from '../../../src/protocol/backplane/link.ts';

const HOME = 1;
const ELSEWHERE = 3;
const ENDS = {
  client: { address: parseAddress('198.51.100.7'), port: 4711 },
  public: { address: parseAddress('192.0.2.80'), port: 80 },
};

/** Nodes that cannot be reached are `unreachable`. */
function stand(home = HOME, unreachable = new Set<number>()) {
  const routes = new Map<string, number>();
  const key = (client: typeof ENDS.client, pub: typeof ENDS.public) => tupleKey({ client, public: pub });
  const told: Frame[] = [];
  const clock = { nowMs: 0 };
  const link = { send: (frame: Frame) => told.push(frame) > 0 } as unknown as Link;
  const ports: Omit<GuestsPorts, 'forwards'> & ForwardsPorts = {
    index: 0,
    self: HOME,
    config: { nodes: [] },
    linkFor: (node) => (unreachable.has(node) ? undefined : link),
    links: () => [link],
    homeOf: () => home,
    clock,
    homeRoutes: { returned: () => {} },
    sockets: { of: () => TcpState.CLOSE },
    kernel: { shut: () => {}, hasClosed: () => true, drop: () => {}, leave: () => {} },
    routes: {
      set: (client: typeof ENDS.client, pub: typeof ENDS.public, owner: number) => {
        routes.set(key(client, pub), owner);
        return true;
      },
      owner: (client: typeof ENDS.client, pub: typeof ENDS.public) => routes.get(key(client, pub)) ?? 0,
      delete: (client: typeof ENDS.client, pub: typeof ENDS.public) => routes.delete(key(client, pub)),
    },
  };
  const forwards = new Forwards(ports);
  const guests = new Guests({ ...ports, forwards });
  const tick = (nowMs: number): void => {
    clock.nowMs = nowMs;
    guests.turn(nowMs);
    forwards.turn(nowMs);
    guests.round();
  };
  /** Time passes, in rounds of a second, while `goesOn`. Returns the seconds. */
  const pass = (goesOn: () => boolean): number => {
    const startMs = clock.nowMs;
    while (goesOn() && clock.nowMs - startMs < 10 * FLOW_LINGER_LIMIT_MS) {
      tick(clock.nowMs + 1000);
    }
    return (clock.nowMs - startMs) / 1000;
  };
  return { routes, guests, forwards, told, tick, pass };
}

test('the route that keeps a connection here goes with it', () => {
  const { routes, guests, tick } = stand();
  guests.ended(guests.arrive(ENDS, 1));
  tick(FLOW_LINGER_MS - 1);
  assert.deepEqual([...routes.values()], [OWNER_SELF], 'the client may still say something');
  tick(FLOW_LINGER_MS);
  assert.deepEqual([...routes.values()], []);
  assert.equal(guests.size, 0);
});

test('the route of a next connection, which another engine gave away, stays', () => {
  const { routes, guests, tick } = stand();
  guests.ended(guests.arrive(ENDS, 1));
  routes.set(tupleKey(ENDS), ELSEWHERE);
  tick(FLOW_LINGER_MS);
  assert.deepEqual([...routes.values()], [ELSEWHERE]);
  assert.equal(guests.size, 0);
});

test('a home is told until it answers', () => {
  const { guests, told, pass } = stand(ELSEWHERE);
  guests.ended(guests.arrive(ENDS, 1));
  const cleanups = () => told.filter(({ type }) => type === FrameType.CLEANUP).length;
  pass(() => cleanups() < 3);
  guests.cleanedUp(ELSEWHERE, { type: FrameType.CLEANUP_OK, flow: tupleToFrame(ENDS), epoch: 1 });
  assert.equal(guests.size, 0);
  assert.equal(cleanups(), 3);
});

test('a home that never answers is told no longer than the limit; a next connection has all of it', () => {
  const { guests, pass } = stand(ELSEWHERE);
  const limitS = FLOW_LINGER_LIMIT_MS / 1000;
  guests.ended(guests.arrive(ENDS, 1));
  let rounds = 0;
  pass(() => rounds++ < limitS / 2);
  const next = guests.revive(ENDS)!;
  guests.ended(next);
  const seconds = pass(() => guests.size > 0);
  assert.ok(seconds >= limitS && seconds <= limitS + 5, `${seconds} s`);
  assert.equal(guests.leaving, 0);
});

test('a connection that has moved on is sent after by a route of this node’s, until it comes back', () => {
  for (const comesBack of [false, true]) {
    const { routes, guests, forwards, tick } = stand(ELSEWHERE);
    guests.movedOn(ENDS, guests.arrive(ENDS, 1), { node: ELSEWHERE + 1, epoch: 2 });
    assert.deepEqual([...routes.values()], [ELSEWHERE + 2]);
    if (comesBack) forwards.stop(ENDS);
    assert.equal(routes.size, comesBack ? 0 : 1);
    tick(FLOW_LINGER_MS);
    assert.equal(routes.size, 0, 'the home knows by then');
  }
});

test('while the home cannot be reached a connection is sent after, until its owner says that it has ended', () => {
  const { routes, guests, forwards, pass } = stand(ELSEWHERE, new Set([ELSEWHERE]));
  guests.movedOn(ENDS, guests.arrive(ENDS, 1), { node: ELSEWHERE + 1, epoch: 2 });
  let rounds = 0;
  pass(() => rounds++ < 100);
  assert.equal(routes.size, 1);
  const flow = tupleToFrame(ENDS);
  forwards.ended({ type: FrameType.CLEANUP, flow, epoch: 1 });
  assert.equal(routes.size, 1, 'it was here once more since');
  forwards.ended({ type: FrameType.CLEANUP, flow, epoch: 3 });
  assert.equal(routes.size, 0);
});

test('a connection that was sent on is lost with its owner, when the home cannot be reached either', () => {
  const unreachable = new Set([ELSEWHERE]);
  const { routes, guests, pass } = stand(ELSEWHERE, unreachable);
  guests.movedOn(ENDS, guests.arrive(ENDS, 1), { node: ELSEWHERE + 1, epoch: 2 });
  let rounds = 0;
  pass(() => rounds++ < 100);
  unreachable.add(ELSEWHERE + 1);
  const seconds = pass(() => routes.size > 0);
  assert.equal(seconds, LOST_LIMIT_MS / 1000);
});

test('an owner that cannot reach the home tells everybody that the connection has ended, and forgets it', () => {
  const { guests, told, tick } = stand(ELSEWHERE, new Set([ELSEWHERE]));
  guests.ended(guests.arrive(ENDS, 4));
  tick(FLOW_LINGER_MS);
  assert.deepEqual(
    told.map(({ type }) => type),
    [FrameType.CLEANUP],
  );
  assert.equal(guests.size, 0);
});

test('a home that may have forgotten hears of a guest before it hears that it has ended', () => {
  const { guests, told, tick } = stand(ELSEWHERE);
  guests.ended(guests.arrive(ENDS, 4));
  guests.linkUp({ node: ELSEWHERE } as unknown as Link);
  tick(FLOW_LINGER_MS);
  tick(2 * FLOW_LINGER_MS);
  assert.deepEqual(
    told.map(({ type }) => type),
    [FrameType.ROUTE, FrameType.ROUTE, FrameType.CLEANUP, FrameType.CLEANUP],
  );
});

test('a connection that a predecessor has sent on is sent after for a while', () => {
  const { routes, forwards, tick } = stand(ELSEWHERE);
  routes.set(tupleKey(ENDS), ELSEWHERE + 2);
  forwards.inherit(ENDS, ELSEWHERE + 1);
  tick(FLOW_LINGER_MS - 1);
  assert.equal(routes.size, 1, 'whoever got it may still be in doubt');
  tick(FLOW_LINGER_MS + 1000);
  assert.equal(routes.size, 0);
});
