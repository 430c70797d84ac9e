/** A client's connection from state to state: head, body, busy, rest, moving, draining, closed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ConnectionState, next } from '../../src/client/connection-state.ts';
import { COLLECTED_BODY_BYTES } from '../../src/client/request-body.ts';
import { B, type ClientModel, ClientStand, get, guest, HERE, LIMITS, post, site } from './stand.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
const LARGE = COLLECTED_BODY_BYTES + 1000;
const BY_MIGRATE = { node: B, mechanism: 'migrate' } as const;

/** A connection in each of its states, and how it is in it. */
const IN: Record<string, (stand: ClientStand) => ClientModel> = {
  head: (stand) => stand.connects(),
  body: (stand) => stand.connects(post(10)).sends('12345'),
  busy: (stand) => stand.connects(get()),
  'busy, the body follows': (stand) => stand.connects(post(LARGE)).sends(Buffer.alloc(LARGE - 10)),
  rest: (stand) => {
    const client = IN['busy, the body follows'](stand);
    stand.delivery.finish();
    return client;
  },
  moving: (stand) => {
    stand.choice = BY_MIGRATE;
    return stand.connects(get());
  },
  draining: (stand) => stand.connects('no request\r\n\r\n'),
};

describe('the states of a connection', () => {
  for (const [name, make] of Object.entries(IN)) {
    const state = name.split(',')[0];

    test(`${name}: a reset ends it, and nothing of it is left`, () => {
      const stand = new ClientStand();
      const client = make(stand);
      assert.equal(stand.stateOf(client), state);
      client.resets();
      assert.equal(client.done.at(-1), 'close');
      assert.equal(stand.connections.size, 0);
      for (const kind of ['head', 'idle', 'stall', 'drain', 'later'] as const)
        assert.equal(stand.connections.deadlines[kind].size, 0, kind);
      if (state === 'moving') assert.ok(stand.move.isCancelled);
      if (state === 'busy') assert.equal(stand.delivery.told.at(-1), 'cancel');
    });

    test(`${name}: what cannot go on is reset, once`, () => {
      const stand = new ClientStand();
      const client = make(stand);
      const connection = stand.connection(client);
      connection.broken('the node stops');
      connection.broken('again');
      connection.close();
      connection.gone();
      connection.ready(1);
      assert.equal(client.done.at(-1), 'abort');
      assert.equal(stand.counters.get('connections_aborted'), 1);
      assert.deepEqual(stand.log.slice(-1), ['connection aborted: the node stops']);
    });

    test(`${name}: the client of a guest has ended`, () => {
      const stand = new ClientStand();
      const client = make(stand);
      stand.connection(client).guest = guest();
      client.resets();
      assert.deepEqual(stand.guestsEnded, ['guest ended']);
    });
  }

  test('no state follows closed, and none that its head comment does not name', () => {
    const states: ConnectionState[] = ['head', 'body', 'busy', 'rest', 'moving', 'draining', 'closed'];
    for (const to of states) assert.throws(() => next('closed', to), /from closed/);
    assert.throws(() => next('draining', 'head'));
    assert.throws(() => next('rest', 'busy'));
    assert.throws(() => next('moving', 'draining'));
    assert.equal(next('head', 'moving'), 'moving');
  });
});

describe('FIN', () => {
  const ends: Record<string, string[]> = {
    head: ['close'],
    body: ['abort'],
    busy: [],
    'busy, the body follows': ['abort'],
    rest: ['close'],
    moving: [],
    draining: ['shut', 'close'],
  };
  for (const [name, done] of Object.entries(ends)) {
    test(`${name}: ${done.length === 0 ? 'it goes on' : done.at(-1)}`, () => {
      const stand = new ClientStand();
      const client = IN[name](stand).closes();
      assert.deepEqual(client.done, done);
    });
  }

  test('the request that came before it is answered, and the one behind that', () => {
    const stand = new ClientStand();
    const client = stand.connects(get('/1')).closes(get('/2'));
    stand.delivery.finish();
    assert.equal(stand.delivery.request.head.target, '/2');
    assert.deepEqual(client.done, []);
    stand.delivery.finish();
    assert.deepEqual(client.done, ['close']);
  });

  test('it has come while the connection moved, which goes on here', () => {
    const stand = new ClientStand();
    const client = IN.moving(stand).closes();
    stand.move.connection.resumed();
    stand.delivery.finish();
    assert.deepEqual(client.done, ['close']);
  });

  test('with a request that ends the connection it is not taken for more input', () => {
    const stand = new ClientStand();
    const client = stand.connects(get('/', 'Connection: close\r\n')).closes();
    stand.delivery.finish();
    assert.deepEqual(client.done, ['close']);
  });
});

describe('requests', () => {
  test('one after the other, however they come', () => {
    const stand = new ClientStand();
    const client = stand.connects(get('/1') + get('/2') + get('/3').slice(0, 20));
    assert.equal(stand.deliveries.length, 1);
    assert.deepEqual([stand.delivery.host.quiet, stand.delivery.host.hasMore], [false, true]);
    stand.delivery.finish();
    assert.equal(stand.delivery.request.head.target, '/2');
    stand.delivery.finish();
    assert.equal(stand.stateOf(client), 'head');
    client.sends(get('/3').slice(20));
    assert.equal(stand.delivery.request.head.target, '/3');
    assert.deepEqual([stand.delivery.host.quiet, stand.delivery.host.hasMore], [true, false]);
    stand.delivery.finish();
    assert.equal(stand.stateOf(client), 'head');
  });

  test('what comes while one is in progress is not read, and its delivery hears of it', () => {
    const stand = new ClientStand();
    const client = stand.connects(get('/1')).sends(get('/2'));
    assert.equal(client.arrived.length, get('/2').length);
    assert.deepEqual(stand.delivery.told, ['start', 'more']);
    assert.ok(stand.delivery.host.hasMore);
  });

  test('many that are answered at once are no deep recursion', () => {
    const stand = new ClientStand();
    stand.answersAtOnce = {};
    stand.connects(get().repeat(5000));
    assert.equal(stand.deliveries.length, 5000);
  });

  test('the last one ends the connection', () => {
    for (const end of ['request', 'response', 'node'] as const) {
      const stand = new ClientStand();
      stand.isClosing = end === 'node';
      const client = stand.connects(get('/', end === 'request' ? 'Connection: close\r\n' : ''));
      stand.delivery.finish({ close: end === 'response' });
      assert.deepEqual(client.done, ['close'], end);
    }
  });

  test('the last one, with input behind it that nobody reads: FIN first, and a while', () => {
    const stand = new ClientStand();
    const client = stand.connects(get('/', 'Connection: close\r\n') + get());
    stand.delivery.finish();
    assert.deepEqual([stand.stateOf(client), client.done], ['draining', ['shut']]);
    client.sends(get());
    stand.pass(1900);
    client.sends(get());
    stand.pass(1900);
    assert.deepEqual(client.done, ['shut']);
    stand.pass(200);
    assert.deepEqual(client.done, ['shut', 'close']);
    assert.equal(stand.deliveries.length, 1);
  });

  test('another client’s bytes do not overwrite a head that is still wanted', () => {
    const stand = new ClientStand();
    stand.connects(get('/first'));
    const first = stand.delivery;
    stand.connects(get('/other').repeat(3));
    assert.equal(first.host.request.headBytes.toString(), get('/first'));
  });

  test('without room for another connection', () => {
    const stand = new ClientStand({ connections: 1 });
    stand.connects();
    const client = stand.connects();
    assert.match(client.said, /^HTTP\/1\.1 503 .*Connection: close/s);
    assert.deepEqual([client.done, stand.connections.size], [['close'], 1]);
    assert.equal(stand.counters.get('connections_refused'), 1);
    assert.equal(stand.counters.get('responses_5xx'), 1);
  });
});

describe('a request’s body', () => {
  test('is collected, and the request answered with it', () => {
    const stand = new ClientStand();
    const client = stand.connects(post(10)).sends('12345');
    assert.deepEqual([stand.stateOf(client), stand.deliveries.length], ['body', 0]);
    client.sends(`67890${get('/next')}`);
    assert.equal(stand.delivery.request.body.toString(), '1234567890');
    assert.equal(stand.delivery.request.bodyFollows, false);
    stand.delivery.finish();
    assert.equal(stand.delivery.request.head.target, '/next');
  });

  test('follows when it is large; it is read while it is wanted', () => {
    const stand = new ClientStand();
    const client = stand.connects(post(LARGE)).sends(Buffer.alloc(LARGE - 10, 1));
    const { delivery } = stand;
    assert.ok(delivery.request.bodyFollows);
    delivery.wantsBody = false;
    client.sends(`${'2'.repeat(10)}${get('/next')}`);
    assert.equal(client.arrived.length, 10 + get('/next').length, 'not read');
    delivery.wantsBody = true;
    delivery.host.bodyWanted();
    assert.ok(delivery.hasBodyEnded);
    assert.equal(delivery.bodyBytes.length, LARGE);
    assert.equal(stand.deliveries.length, 1);
    delivery.finish();
    assert.equal(stand.delivery.request.head.target, '/next');
  });

  test('is thrown away when the answer was there before it', () => {
    const stand = new ClientStand();
    const client = IN.rest(stand).sends('5'.repeat(9));
    assert.equal(stand.stateOf(client), 'rest');
    client.sends(`5${get('/next')}`);
    assert.deepEqual([stand.stateOf(client), stand.delivery.request.head.target], ['busy', '/next']);
  });

  test('and ends the connection when it is wrong by then', () => {
    const stand = new ClientStand();
    const head = 'POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n';
    const size = LARGE.toString(16);
    const client = stand.connects(`${head}${size}\r\n`).sends(Buffer.alloc(LARGE));
    stand.delivery.finish();
    client.sends('\r\nno size\r\n');
    assert.deepEqual(client.done, ['close']);
  });

  test('that is wrong while it follows resets the connection: its response has begun', () => {
    const stand = new ClientStand();
    const head = 'POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n';
    const client = stand.connects(`${head}${LARGE.toString(16)}\r\n`).sends(Buffer.alloc(LARGE));
    client.sends('\r\nno size\r\n');
    assert.deepEqual(client.done, ['abort']);
    assert.match(stand.log.at(-1) ?? '', /request body: BAD_CHUNK_SIZE/);
  });
});

describe('Expect: 100-continue', () => {
  const withUpstream = () => {
    const stand = new ClientStand();
    stand.site = site({ upstream: true });
    return stand;
  };
  const expecting = (bodyBytes = 10) => post(bodyBytes, 'Expect: 100-continue\r\n');

  test('the client is asked for the body', () => {
    const stand = withUpstream();
    const client = stand.connects(expecting());
    assert.equal(client.said, CONTINUE);
    client.sends('1234567890');
    assert.equal(stand.delivery.request.body.length, 10);
  });

  test('in a socket without room, as soon as there is some', () => {
    const stand = withUpstream();
    const client = stand.connects();
    client.room = 0;
    client.sends(expecting());
    assert.deepEqual([stand.stateOf(client), client.said], ['body', '']);
    client.takes(5);
    stand.pass(LIMITS.stallSeconds * 1000 - 100);
    client.takes();
    assert.equal(client.said, CONTINUE);
    stand.pass(LIMITS.stallSeconds * 1000 - 100);
    client.sends('1234567890');
    assert.equal(stand.delivery.request.body.length, 10);
  });

  test('not any more, when the client has sent the body unasked', () => {
    const stand = withUpstream();
    const client = stand.connects();
    client.room = 0;
    client.sends(expecting()).sends('1234567890');
    stand.delivery.finish();
    client.takes();
    assert.equal(client.said, '');
    assert.deepEqual(stand.delivery.told, ['start']);
  });

  test('half of it out when the body comes: no response could follow', () => {
    const stand = withUpstream();
    const client = stand.connects();
    client.room = 5;
    client.sends(expecting()).sends('1234567890');
    assert.deepEqual(client.done, ['abort']);
    assert.equal(stand.deliveries.length, 0);
  });

  test('the socket fails with it', () => {
    const stand = withUpstream();
    const client = stand.connects();
    client.arrived = Buffer.from(expecting());
    const connection = stand.connection(client);
    // Reset between the read and the answer.
    const say = stand.connections.ports.sockets.out;
    stand.connections.ports.sockets.out = (fd, behind) => {
      client.hasReset = true;
      return say(fd, behind);
    };
    connection.ready(1);
    assert.deepEqual(client.done, ['close']);
  });

  test('too large a body is refused before it is asked for', () => {
    const stand = withUpstream();
    const client = stand.connects(expecting(LIMITS.bodyBytes + 1));
    assert.match(client.said, /^HTTP\/1\.1 413 /);
  });

  test('nobody wants the body: it is not asked for, and the connection ends with the answer', () => {
    const stand = new ClientStand();
    const client = stand.connects(expecting());
    assert.deepEqual([stand.stateOf(client), client.said], ['busy', '']);
    assert.ok(stand.delivery.request.close);
    stand.delivery.finish({ close: true });
    assert.deepEqual([stand.stateOf(client), client.done], ['draining', ['shut']]);
    client.sends('1234567890').closes();
    assert.deepEqual(client.done, ['shut', 'close']);
  });
});

describe('a refusal', () => {
  const head = 'POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n';
  const cases: Record<string, [number, string]> = {
    'no request': [400, 'no request\r\n\r\n'],
    'a body that is larger than allowed': [413, post(LIMITS.bodyBytes + 1)],
    'a chunk without a size': [400, `${head}no size\r\n`],
  };
  for (const [name, [status, bytes]] of Object.entries(cases)) {
    test(`${name}: ${status}, FIN, and the client’s FIN is awaited`, () => {
      const stand = new ClientStand();
      const client = stand.connects(bytes);
      assert.match(client.said, new RegExp(`^HTTP/1\\.1 ${status} .*Connection: close`, 's'));
      assert.deepEqual([stand.stateOf(client), client.done], ['draining', ['shut']]);
      assert.equal(stand.counters.get('responses_4xx'), 1);
      client.closes('more');
      assert.deepEqual(client.done, ['shut', 'close']);
      assert.equal(stand.deliveries.length, 0);
    });
  }

  test('in a socket without room: said when there is some, then FIN', () => {
    const stand = new ClientStand();
    const client = stand.connects();
    client.room = 3;
    client.sends('no request\r\n\r\n').sends('more');
    assert.deepEqual([client.said, client.done], ['HTT', []]);
    client.takes(3);
    assert.deepEqual([client.said, client.done], ['HTTP/1', []]);
    client.takes();
    assert.match(client.said, /^HTTP\/1\.1 400 .*\n/s);
    assert.deepEqual(client.done, ['shut']);
  });

  test('the client takes nothing of it', () => {
    const stand = new ClientStand();
    const client = stand.connects();
    client.room = 0;
    client.sends('no request\r\n\r\n');
    stand.pass(LIMITS.stallSeconds * 1000);
    assert.deepEqual(client.done, ['abort']);
  });

  test('behind a response: after it, on a connection that goes on until then', () => {
    const stand = new ClientStand();
    const client = stand.connects(`${get()}no request\r\n\r\n`);
    assert.equal(client.said, '');
    stand.delivery.finish();
    assert.match(client.said, /^HTTP\/1\.1 400 /);
  });
});

describe('deadlines', () => {
  const HEAD_MS = LIMITS.headSeconds * 1000;
  const IDLE_MS = LIMITS.idleSeconds * 1000;
  const STALL_MS = LIMITS.stallSeconds * 1000;

  test('a client that sends nothing', () => {
    const stand = new ClientStand();
    const client = stand.connects();
    stand.pass(HEAD_MS - 100);
    assert.deepEqual(client.done, []);
    stand.pass(100);
    assert.deepEqual([client.done, client.said], [['close'], '']);
    assert.equal(stand.counters.get('timeouts_head'), 1);
  });

  test('a head that comes byte by byte: 408', () => {
    const stand = new ClientStand();
    const client = stand.connects();
    for (let i = 0; i < 10; i++) {
      client.sends(get()[i]);
      stand.pass(HEAD_MS / 10);
    }
    assert.match(client.said, /^HTTP\/1\.1 408 /);
  });

  test('nothing after a response', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    stand.pass(2 * IDLE_MS);
    stand.delivery.finish();
    stand.pass(IDLE_MS - 100);
    assert.deepEqual(client.done, []);
    stand.pass(100);
    assert.deepEqual(client.done, ['close']);
    assert.equal(stand.counters.get('timeouts_idle'), 1);
  });

  test('a connection that has come may rest first', () => {
    const stand = new ClientStand();
    const client = stand.arrives();
    stand.pass(IDLE_MS - 100);
    assert.deepEqual(client.done, []);
    stand.pass(100);
    assert.deepEqual(client.done, ['guest']);
  });

  test('a body that stops; each piece gives it time', () => {
    const stand = new ClientStand();
    const client = stand.connects(post(10));
    for (let i = 0; i < 9; i++) {
      stand.pass(STALL_MS - 100);
      client.sends('x');
    }
    stand.pass(STALL_MS);
    assert.deepEqual(client.done, ['abort']);
    assert.match(stand.log.at(-1) ?? '', /the client stalled/);
  });

  test('a body that nobody wants may stop; when it is wanted again time begins', () => {
    const stand = new ClientStand();
    const client = IN['busy, the body follows'](stand);
    const { delivery } = stand;
    delivery.wantsBody = false;
    delivery.host.bodyWanted();
    stand.pass(10 * STALL_MS);
    assert.deepEqual(client.done, []);
    delivery.wantsBody = true;
    delivery.host.bodyWanted();
    stand.pass(STALL_MS - 100);
    delivery.host.bodyWanted();
    assert.deepEqual(client.done, []);
    stand.pass(100);
    assert.deepEqual(client.done, ['abort'], 'asking is no progress');
  });

  test('a response that the client does not take', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    const { host } = stand.delivery;
    for (let i = 0; i < 3; i++) {
      host.sent(1000, true);
      stand.pass(STALL_MS - 100);
    }
    host.sent(0, true);
    assert.deepEqual(client.done, []);
    stand.pass(100);
    assert.deepEqual(client.done, ['abort']);
  });

  test('a client that takes of what was sent before has not stalled', () => {
    const stand = new ClientStand();
    const client = stand.connects();
    client.queuedBytes = 1000;
    client.sends(get());
    stand.delivery.host.sent(0, true);
    for (let i = 0; i < 3; i++) {
      client.queuedBytes -= 100;
      stand.pass(STALL_MS);
      assert.deepEqual(client.done, []);
    }
    stand.pass(STALL_MS);
    assert.deepEqual(client.done, ['abort']);
  });

  test('a response that waits for others may take its time', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    stand.delivery.host.sent(1000, true);
    stand.delivery.host.sent(1000, false);
    stand.pass(10 * STALL_MS);
    assert.deepEqual(client.done, []);
  });

  test('a client that goes on sending after its connection ended: 30 seconds', () => {
    const stand = new ClientStand();
    const client = stand.connects('no request\r\n\r\n');
    for (let i = 0; i < 30; i++) {
      stand.pass(1000);
      client.sends('more');
    }
    assert.deepEqual(client.done, ['shut'], 'the last byte came in time');
    stand.pass(1000);
    assert.deepEqual(client.done, ['shut', 'close']);
  });

  test('a node that stops alone closes those that rest', () => {
    const stand = new ClientStand();
    const [rests, asks, isBusy] = [stand.connects(), stand.connects('GET'), stand.connects(get())];
    for (const connection of stand.connections.all) connection.closeWhenIdle();
    assert.deepEqual([rests.done, asks.done, isBusy.done], [['close'], [], []]);
  });
});

describe('a move', () => {
  test('between two requests, with the head that was read', () => {
    const stand = new ClientStand();
    stand.choice = BY_MIGRATE;
    const client = stand.connects(`${get('/1')}${get('/2')}`);
    assert.equal(stand.stateOf(client), 'moving');
    assert.deepEqual([stand.move.to, stand.move.unread], [BY_MIGRATE, get('/1') + get('/2')]);
    client.sends('more');
    assert.equal(client.arrived.length, 4, 'not read any more');
    stand.move.connection.moved();
    assert.deepEqual([stand.connections.size, client.done], [0, []], 'whoever moves it closes the socket');
    assert.equal(stand.move.isCancelled, false);
  });

  test('that fails: the request is answered here, and the next may move again', () => {
    const stand = new ClientStand();
    stand.choice = BY_MIGRATE;
    const client = stand.connects(get('/1')).sends(get('/2'));
    stand.move.connection.resumed();
    assert.equal(stand.delivery.request.head.target, '/1');
    stand.delivery.finish();
    assert.deepEqual([stand.stateOf(client), stand.moves.length], ['moving', 2]);
    assert.equal(stand.move.unread, get('/2'));
  });

  test('that cannot begin: the request is answered here', () => {
    const stand = new ClientStand();
    stand.choice = BY_MIGRATE;
    stand.canMove = false;
    stand.connects(get('/1') + get('/2'));
    assert.equal(stand.delivery.request.head.target, '/1');
    stand.delivery.finish();
    assert.equal(stand.delivery.request.head.target, '/2', 'not lost');
  });

  test('comes here: its first request is answered here, the next by the policy', () => {
    const stand = new ClientStand();
    stand.choice = BY_MIGRATE;
    const client = stand.arrives({ serveFirst: true });
    client.sends(get());
    stand.delivery.finish();
    client.sends(get());
    assert.equal(stand.stateOf(client), 'moving');
  });

  test('of a node that goes away: what rests goes at once', () => {
    const stand = new ClientStand();
    const client = stand.connects('GET');
    stand.connection(client).leaveFor(B);
    assert.deepEqual([stand.stateOf(client), stand.move.unread], ['moving', 'GET']);
  });

  test('of a node that goes away: in the middle of a response that can go on elsewhere', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    stand.delivery.progress = { offset: 500, headBytes: 100, lengthBytes: 1000 } as never;
    stand.connection(client).leaveFor(B);
    const { connection } = stand.move;
    assert.deepEqual([stand.stateOf(client), stand.delivery.told], ['moving', ['start', 'pause']]);
    connection.resumed();
    assert.deepEqual([stand.stateOf(client), stand.delivery.told.at(-1)], ['busy', 'resume']);
    stand.delivery.finish();
    assert.equal(stand.stateOf(client), 'head');
  });

  test('of a node that goes away: the same, and it has moved', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    const { delivery } = stand;
    delivery.progress = { offset: 500, headBytes: 100, lengthBytes: 1000 } as never;
    stand.connection(client).leaveFor(B);
    stand.move.connection.moved();
    delivery.finish();
    assert.deepEqual([delivery.told.at(-1), client.done], ['cancel', []]);
    assert.equal(stand.records().length, 0, 'whoever has it now records it');
  });

  test('of a node that goes away: a response that cannot move yet is taken back', () => {
    const stand = new ClientStand();
    const client = stand.connects(get());
    stand.connection(client).leaveFor(B);
    assert.deepEqual([stand.stateOf(client), stand.delivery.told.at(-1)], ['busy', 'takeBack']);
  });

  test('of a node that goes away: not while a body comes', () => {
    for (const name of ['body', 'busy, the body follows', 'rest', 'draining']) {
      const stand = new ClientStand();
      const client = IN[name](stand);
      const before = stand.stateOf(client);
      stand.connection(client).leaveFor(B);
      assert.deepEqual([stand.stateOf(client), stand.moves.length], [before, 0], name);
    }
  });

  test('is not tried again at once when it has failed, and later each time', () => {
    const stand = new ClientStand();
    const connection = stand.connection(stand.connects());
    for (const waitMs of [300, 600, 1200, 2400, 4800, 5000, 5000]) {
      connection.leaveFor(B);
      stand.move.connection.resumed();
      const moves = stand.moves.length;
      stand.pass(waitMs - 1);
      connection.leaveFor(B);
      assert.equal(stand.moves.length, moves, `not within ${waitMs} ms`);
      stand.pass(1);
    }
  });

  test('a guest that ends is closed by whoever tells its home', () => {
    const stand = new ClientStand();
    stand.revived = guest('revived');
    const client = stand.connects(get('/', 'Connection: close\r\n'));
    assert.equal(stand.connection(client).key, 'revived');
    stand.delivery.finish();
    assert.deepEqual([stand.guestsEnded, client.done], [['revived closes'], ['guest']]);
  });

  test('in the middle of a response: what has come goes on with it', () => {
    const stand = new ClientStand();
    const continuation = { offset: 500, headBytes: 100, lengthBytes: 1000 } as never;
    const head = Buffer.from(get('/1'));
    const response = { head, close: false, cut: 0, continuation, exchange: {} as never };
    const client = stand.arrives({ response });
    assert.equal(stand.delivery.request.continuation, continuation);
    client.sends(get('/2'));
    stand.delivery.finish({ mechanism: 'migrate', node: HERE });
    assert.equal(stand.delivery.request.head.target, '/2');
  });
});
