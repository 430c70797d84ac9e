/** Whatever comes, and in whatever order: requests are answered in order and whole, and a connection ends once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COLLECTED_BODY_BYTES } from '../../src/client/request-body.ts';
import { B, type ClientModel, ClientStand, type DeliveryModel, get, post } from './stand.ts';

interface Asked {
  readonly bodyBytes: number;
  readonly chunkBytes: number | null;
}

/** Bodies are ramps, each with another step. */
function ramp(index: number, bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => at * (2 * index + 1)));
}

function onWire({ bodyBytes, chunkBytes }: Asked, index: number): Buffer {
  const body = ramp(index, bodyBytes);
  const start = `POST /${index} HTTP/1.1\r\nHost: site\r\n`;
  if (chunkBytes === null)
    return Buffer.concat([Buffer.from(`${start}Content-Length: ${bodyBytes}\r\n\r\n`), body]);
  const parts: Buffer[] = [Buffer.from(`${start}Transfer-Encoding: chunked\r\n\r\n`)];
  for (let at = 0; at < bodyBytes; at += chunkBytes) {
    const chunk = body.subarray(at, at + chunkBytes);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

const asked = fc.record({
  bodyBytes: fc.oneof(
    fc.integer({ min: 0, max: 20 }),
    fc.constantFrom(COLLECTED_BODY_BYTES, COLLECTED_BODY_BYTES + 1, 100_000),
  ),
  chunkBytes: fc.option(fc.integer({ min: 1000, max: 70_000 })),
});

test('requests, however they are cut, and whenever they are answered', () => {
  fc.assert(
    fc.property(
      fc.array(asked, { minLength: 1, maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 20 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }),
      (requests, cuts, choices) => {
        const stand = new ClientStand();
        const client = stand.connects();
        const wire = Buffer.concat(requests.map(onWire));
        let turn = 0;
        const pick = () => choices[turn++ % choices.length];
        let answered = 0;
        const check = () => {
          for (const delivery of stand.deliveries.slice(answered)) {
            const index = answered;
            const isWhole = !delivery.request.bodyFollows || delivery.hasBodyEnded;
            delivery.wantsBody = pick() || choices.every((choice) => !choice);
            delivery.host.bodyWanted();
            if (!isWhole && !pick()) return;
            assert.equal(delivery.request.head.target, `/${index}`, 'in order');
            const { bodyBytes } = delivery;
            const body = ramp(index, requests[index].bodyBytes);
            if (isWhole) assert.deepEqual(bodyBytes, body, 'byte by byte');
            else assert.deepEqual(bodyBytes, body.subarray(0, bodyBytes.length));
            answered++;
            delivery.finish();
          }
        };
        for (let at = 0, i = 0; at < wire.length; i++) {
          const end = at + cuts[i % cuts.length];
          client.sends(wire.subarray(at, end));
          at = end;
          check();
        }
        for (let i = 0; i < 1000 && answered < requests.length; i++) check();
        assert.deepEqual([answered, stand.deliveries.length], [requests.length, requests.length]);
        assert.equal(stand.stateOf(client), 'head');
        client.closes();
        assert.deepEqual(client.done, ['close']);
      },
    ),
    { numRuns: 50 },
  );
});

type Step = (stand: ClientStand, client: ClientModel) => void;

/** What answers does something, if anybody answers. */
function during(does: (delivery: DeliveryModel) => void): Step {
  return ({ deliveries }) => {
    const delivery = deliveries.at(-1);
    if (delivery !== undefined && !delivery.isOver) does(delivery);
  };
}

/** The last thing that it does. */
function ends(does: (delivery: DeliveryModel) => void): Step {
  return during((delivery) => {
    delivery.isOver = true;
    does(delivery);
  });
}

/** What may happen to a connection. */
const STEPS: Readonly<Record<string, Step>> = {
  request: (_, client) => client.sends(get()),
  'two requests': (_, client) => client.sends(get() + get()),
  'a part of a head': (_, client) => client.sends('GET / HT'),
  'the last request': (_, client) => client.sends(get('/', 'Connection: close\r\n')),
  'a request with a body': (_, client) => client.sends(`${post(5)}12345`),
  'a large body begins': (_, client) =>
    client.sends(Buffer.concat([Buffer.from(post(90_000)), Buffer.alloc(80_000)])),
  'bytes of a body': (_, client) => client.sends('x'.repeat(10_000)),
  'Expect: 100-continue': (_, client) => client.sends(post(5, 'Expect: 100-continue\r\n')),
  'no request': (_, client) => client.sends('nonsense\r\n\r\n'),
  FIN: (_, client) => client.closes(),
  reset: (_, client) => client.resets(),
  'the socket is full': (_, client) => {
    client.room = 0;
  },
  'the socket takes a byte': (_, client) => client.takes(1),
  'the socket takes all': (_, client) => client.takes(),
  answered: during((delivery) => delivery.finish()),
  'answered for the last time': during((delivery) => delivery.finish({ close: true })),
  'the response waits for the client': during(({ host }) => host.sent(10, true)),
  'the target has not begun': ends(({ host }) => host.again(B, 'refused')),
  'the target is lost': ends(({ host }) => host.again(B, 'lost')),
  'the response is broken': ends(({ host }) => host.broken('the test says so')),
  'nobody knows yet': ends(({ host }) => host.later()),
  'the client has all of it': ends(({ host }) => host.settled()),
  'no body is wanted': during((delivery) => {
    delivery.wantsBody = false;
  }),
  'a body is wanted': during((delivery) => {
    delivery.wantsBody = true;
    delivery.host.bodyWanted();
  }),
  'it could move': during((delivery) => {
    delivery.progress = { offset: 50, headBytes: 10, lengthBytes: 90 } as never;
  }),
  'the policy moves it': (stand) => {
    stand.choice = { node: B, mechanism: 'migrate' };
  },
  'the policy leaves it here': (stand) => {
    stand.choice = { node: 0, mechanism: 'local' };
  },
  'the node goes away': (stand) => {
    for (const connection of stand.connections.all) connection.leaveFor(B);
  },
  'it has not moved': (stand) => {
    const { connection, isCancelled } = stand.moves.at(-1) ?? {};
    if (isCancelled === false) connection?.resumed();
  },
  'it has moved': (stand) => stand.moves.at(-1)?.connection.moved(),
  'a second': (stand) => stand.pass(1000),
  'a minute': (stand) => stand.pass(60_000),
};

test('anything, in any order: no illegal step, one end, and nothing is left', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...Object.keys(STEPS)), { maxLength: 40 }), (names) => {
      const stand = new ClientStand();
      const client = stand.connects();
      const connection = stand.connection(client);
      for (const name of names) {
        STEPS[name](stand, client);
        const { state } = connection;
        assert.equal(stand.stateOf(client), state, 'a connection is there until it is closed');
        if (state === 'draining') assert.ok(client.done.length === 0 || client.done.at(-1) === 'shut');
        else if (state !== 'closed') assert.deepEqual(client.done, []);
      }
      // A socket that the client leaves alone ends by the clock, one whose response never comes by the node's end.
      if (connection.state === 'moving') stand.moves.at(-1)?.connection.resumed();
      connection.broken('the node stops');
      assert.equal(stand.connections.size, 0);
      const { deadlines } = stand.connections;
      for (const kind of ['head', 'idle', 'stall', 'drain', 'later'] as const)
        assert.equal(deadlines[kind].size, 0, kind);
      const closings = client.done.filter((what) => what !== 'shut').length;
      const moved = stand.moves.some((move) => move.connection === connection && !move.isCancelled);
      assert.ok(closings === 1 || (closings === 0 && moved), 'it is closed once, or lives elsewhere');
    }),
    { numRuns: 1000 },
  );
});
