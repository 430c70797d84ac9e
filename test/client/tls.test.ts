/** Clients' connections over TLS, without a kernel: the client is node:tls, or records made by hand with its secrets. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { Alert } from '../../src/protocol/tls/alerts.ts';
import { TlsAcceptor } from '../../src/protocol/tls/handshake.ts';
import { ReadHalf, type Received } from '../../src/protocol/tls/read-half.ts';
import { ContentType } from '../../src/protocol/tls/records.ts';
import type { TlsSession } from '../../src/protocol/tls/session.ts';
import { SUITES, suiteOf } from '../../src/protocol/tls/suites.ts';
import { wipeKeys } from '../../src/protocol/tls/traffic.ts';
import { UPDATE_RECORDS, WriteHalf } from '../../src/protocol/tls/write-half.ts';
import { makePair } from '../protocol/tls/certificates.ts';
import { Peer } from '../protocol/tls/peer.ts';
import { type ClientModel, ClientStand, get, LIMITS, post } from './stand.ts';

const TICKETS = 2;
/** Too much to wait for: who answers gets it as it comes. */
const BODY_BYTES = 100_000;
const acceptor = new TlsAcceptor(
  [{ site: 'a', hosts: ['a.test'], minVersion: 'TLSv1.2', pairs: [makePair(['a.test'])] }],
  Buffer.alloc(32, 7),
  { wallMs: Date.UTC(2026, 0, 1) },
);
after(() => acceptor.close());

/** A client with TLS, and its connection here. */
class Secured {
  readonly stand: ClientStand;
  readonly peer = new Peer();
  readonly client: ClientModel;
  #heard = 0;

  constructor(stand = new ClientStand({}, acceptor)) {
    this.stand = stand;
    this.client = stand.connects('', true);
    this.peer.wire.onBytes = (bytes) => {
      if (!this.client.isOver) this.client.sends(bytes);
    };
  }

  /** Bytes that the client has not been given yet. */
  heard(): Buffer {
    const bytes = Buffer.from(this.client.said.slice(this.#heard), 'latin1');
    this.#heard = this.client.said.length;
    return bytes;
  }

  async until(condition: () => boolean): Promise<void> {
    await this.peer.until(() => {
      this.peer.hear(this.heard());
      return condition();
    });
  }

  /** The handshake is done, at both ends. */
  async shaken(): Promise<this> {
    await this.until(() => this.stand.stateOf(this.client) === 'head' && this.peer.secrets.size >= 4);
    this.peer.hear(this.heard());
    return this;
  }

  async asks(path = '/'): Promise<void> {
    const { deliveries } = this.stand;
    const before = deliveries.length;
    this.peer.socket.write(get(path));
    await this.until(() => deliveries.length > before);
  }

  /** The response, through the connection's way out. */
  answers(bytes: Buffer): void {
    const sink = this.stand.delivery.host.wayOut.out('anyone', null);
    for (let at = 0; at < bytes.length; ) {
      const taken = sink.send(bytes, at, false, true);
      assert.notEqual(taken, -2, 'the socket takes it');
      if (taken > 0) at += taken;
      else this.client.takes(1000);
    }
    while (sink.flush() < 0) this.client.takes(1000);
    this.stand.delivery.finish();
  }

  /** What seals as the client, and what opens what it gets, in its place. */
  byHand(): { readonly write: WriteHalf; readonly read: ReadHalf } {
    const half = (label: string, number: number) => ({
      suite: SUITES[0],
      secret: Buffer.from(this.peer.secrets.get(label)!),
      number,
    });
    return {
      write: new WriteHalf(half('CLIENT_TRAFFIC_SECRET_0', 0)),
      read: new ReadHalf({ half: half('SERVER_TRAFFIC_SECRET_0', TICKETS), rest: Buffer.alloc(0) }),
    };
  }
}

function opened(read: ReadHalf, bytes: Buffer): Received[] {
  read.push(bytes);
  const all: Received[] = [];
  for (let next = read.next(); next !== null; next = read.next()) all.push(next);
  return all;
}

/** Whole ones. */
function recordsIn(bytes: Buffer): number {
  let count = 0;
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) count++;
  return count;
}

/** A session that comes from another node. */
function sessionOf(id: number, serverRecord: number, held: string): TlsSession {
  const suite = suiteOf(id)!;
  return {
    suite,
    resumed: false,
    clientSecret: Buffer.alloc(suite.secretBytes, 1),
    serverSecret: Buffer.alloc(suite.secretBytes, 1),
    clientRecord: 1,
    serverRecord,
    behind: Buffer.alloc(0),
    held: Buffer.from(held),
  };
}

describe('a connection over TLS', () => {
  test('answers requests one after the other, tells upstreams and log, and ends with close_notify', async () => {
    const one = await new Secured().shaken();
    const { stand, peer } = one;
    const body = Buffer.alloc(100_000, 'x');
    for (let i = 1; i <= 2; i++) {
      await one.asks(`/${i}`);
      assert.equal(stand.delivery.request.head.target, `/${i}`);
      assert.equal(stand.delivery.request.client.isSecure, true);
      one.answers(body);
      await one.until(() => peer.received.length === i * body.length);
    }
    assert.ok(peer.received.every((byte) => byte === 0x78));
    assert.equal(stand.stateOf(one.client), 'head');
    stand.pass(LIMITS.idleSeconds * 1000 + 200);
    await one.until(() => peer.hasEnded);
    assert.deepEqual(one.client.done, ['close']);
    assert.equal(peer.error, null);
    assert.equal(stand.counters.get('tls_handshakes'), 1);
    await peer.close();
  });

  test('with a socket that takes a few bytes at a time, in the handshake too', async () => {
    const stand = new ClientStand({}, acceptor);
    const one = new Secured(stand);
    one.client.room = 0;
    const trickle = (condition: () => boolean) =>
      one.until(() => {
        if (!one.client.isOver) one.client.takes(7);
        return condition();
      });
    await trickle(() => stand.stateOf(one.client) === 'head');
    one.peer.socket.write(get('/slow'));
    await trickle(() => stand.deliveries.length > 0);
    one.client.room = 0;
    const body = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i & 0xff));
    one.answers(body);
    await trickle(() => one.peer.received.length === body.length);
    assert.ok(one.peer.received.equals(body));
    await one.peer.close();
  });

  test('requests in one record, in many, and with the handshake’s end', async () => {
    const one = await new Secured().shaken();
    const { write } = one.byHand();
    one.stand.answersAtOnce = {};
    const text = Buffer.from(get('/1') + get('/2'));
    const pieces = [text, ...[...text].map((byte) => Buffer.from([byte]))];
    const records = pieces.map((piece) => write.seal(piece, ContentType.APPLICATION_DATA));
    one.client.sends(Buffer.concat(records.slice(0, 20)));
    for (const byte of Buffer.concat(records.slice(20))) one.client.sends(Buffer.from([byte]));
    const asked = one.stand.deliveries.map(({ request }) => request.head.target);
    assert.deepEqual(asked, ['/1', '/2', '/1', '/2']);
    await one.peer.close();
  });

  test('tickets go with the response to what came with Finished, and its end with close_notify and FIN', async () => {
    const stand = new ClientStand({}, acceptor);
    const one = new Secured(stand);
    const { client, peer } = one;
    peer.socket.write(get('/', 'Connection: close\r\n'));
    let held = Buffer.alloc(0);
    peer.wire.onBytes = (bytes) => {
      held = Buffer.concat([held, bytes]);
    };
    // ChangeCipherSpec, Finished, the request.
    await one.until(() => recordsIn(held) === 3);
    assert.equal(client.calls.pushing, 1, 'the flight');
    const { said } = client;
    client.sends(held);
    assert.equal(client.said, said, 'nothing before the response');
    assert.equal(stand.delivery.request.head.target, '/');
    const sink = stand.delivery.host.wayOut.out('end', null);
    sink.send(Buffer.from('answer'), 0, false, true);
    stand.delivery.finish({ close: true });
    assert.deepEqual(client.calls, { pushing: 1, waiting: 3 });
    assert.ok(client.hasFinished);
    await one.until(() => peer.hasEnded);
    assert.equal(peer.received.toString(), 'answer');
    assert.equal(peer.sessions.length, TICKETS);
    assert.equal(peer.error, null);
    await peer.close();
  });

  test('tickets go at once when nothing has come with Finished, and before a node is lent the key', async () => {
    const one = await new Secured().shaken();
    assert.deepEqual(one.client.calls, { pushing: 2, waiting: 0 });
    await one.peer.close();
    const stand = new ClientStand({}, acceptor);
    const other = new Secured(stand);
    other.peer.socket.write(get('/'));
    let held = Buffer.alloc(0);
    other.peer.wire.onBytes = (bytes) => {
      held = Buffer.concat([held, bytes]);
    };
    await other.until(() => recordsIn(held) === 3);
    other.client.sends(held);
    assert.ok(stand.delivery.host.wayOut.mayLend(1));
    assert.deepEqual(other.client.calls, { pushing: 2, waiting: 0 });
    await other.until(() => other.peer.sessions.length === TICKETS);
    await other.peer.close();
  });

  test('the client’s close_notify, FIN with and without it, and a reset', async () => {
    for (const how of ['notify', 'both', 'fin', 'reset'] as const) {
      const one = await new Secured().shaken();
      const { write } = one.byHand();
      const notify = write.seal(Buffer.from([1, Alert.CLOSE_NOTIFY]), ContentType.ALERT);
      if (how === 'notify') one.client.sends(notify);
      else if (how === 'both') one.client.closes(notify.toString('latin1'));
      else if (how === 'fin') one.client.closes();
      else one.client.resets();
      assert.equal(one.stand.stateOf(one.client), 'closed', how);
      await one.peer.close();
    }
  });

  test('close_notify right behind a request ends the connection with the answer, before any FIN', async () => {
    const one = await new Secured().shaken();
    const { write } = one.byHand();
    const asked = write.seal(Buffer.from(get()), ContentType.APPLICATION_DATA);
    const notify = write.seal(Buffer.from([1, Alert.CLOSE_NOTIFY]), ContentType.ALERT);
    one.client.sends(Buffer.concat([asked, notify]));
    one.answers(Buffer.from('well'));
    assert.equal(one.stand.stateOf(one.client), 'closed');
    await one.peer.close();
  });

  test('KeyUpdate is answered at once, and what follows has other keys', async () => {
    const one = await new Secured().shaken();
    const { write, read } = one.byHand();
    one.client.sends(write.update(true));
    assert.deepEqual(opened(read, one.heard()), [{ kind: 'key-update', asks: false }]);
    one.client.sends(write.update(false));
    assert.equal(one.heard().length, 0);
    one.client.sends(write.seal(Buffer.from(get()), ContentType.APPLICATION_DATA));
    one.answers(Buffer.from('well'));
    assert.deepEqual(opened(read, one.heard()), [{ kind: 'data', bytes: Buffer.from('well') }]);
    await one.peer.close();
  });

  test('KeyUpdate waits behind the rest of a record that the socket has not taken', async () => {
    const one = await new Secured().shaken();
    const { write, read } = one.byHand();
    one.client.sends(write.seal(Buffer.from(`${post(10)}12345`), ContentType.APPLICATION_DATA));
    one.client.room = 0;
    one.client.sends(write.update(true));
    one.client.takes(3);
    one.client.sends(write.seal(Buffer.from('67890'), ContentType.APPLICATION_DATA));
    one.client.takes();
    one.answers(Buffer.from('well'));
    assert.deepEqual(opened(read, one.heard()), [
      { kind: 'key-update', asks: false },
      { kind: 'data', bytes: Buffer.from('well') },
    ]);
    await one.peer.close();
  });

  test('with tlsRekey no node is lent a key by which somebody else has sealed, and nothing is sealed by one that was', async () => {
    const one = await new Secured(new ClientStand({}, acceptor, true)).shaken();
    const { stand } = one;
    const { write, read } = one.byHand();
    const asks = () => {
      one.client.sends(write.seal(Buffer.from(get()), ContentType.APPLICATION_DATA));
      return stand.delivery.host.wayOut;
    };
    const update = { kind: 'key-update', asks: false } as const;
    const well = { kind: 'data', bytes: Buffer.from('well') } as const;
    const says = (...expected: Received[]) => assert.deepEqual(opened(read, one.heard()), expected);
    /** Whether the node is lent the half, which comes back unused. */
    const lends = (node: number) => {
      const { wayOut } = stand.delivery.host;
      assert.ok(wayOut.mayLend(node));
      wipeKeys(wayOut.half!.lend(node));
      wayOut.half!.takeBackUnused();
    };
    asks();
    lends(1);
    says();
    lends(1);
    says();
    lends(2);
    says(update);
    one.answers(Buffer.from('well'));
    says(update, well);
    asks();
    one.answers(Buffer.from('well'));
    says(well);
    asks();
    lends(2);
    says(update);
    assert.equal(stand.counters.get('tls_key_updates'), 3);
    // A socket that takes nothing: another way has to be found.
    one.client.room = 0;
    assert.equal(stand.delivery.host.wayOut.mayLend(1), false);
    one.client.takes();
    await one.peer.close();
  });

  test('with tlsRekey and TLS 1.2 no node is lent the key', () => {
    for (const rekeys of [false, true]) {
      const stand = new ClientStand({}, acceptor, rekeys);
      stand.arrives({ session: sessionOf(0xc02f, 1, get('/')), serveFirst: true });
      assert.equal(stand.delivery.host.wayOut.mayLend(1), !rekeys);
    }
  });

  test('what no client sends ends it with an alert, and is counted', async () => {
    const cases: Array<[Alert, (write: WriteHalf) => Buffer]> = [
      [Alert.UNEXPECTED_MESSAGE, (write) => write.seal(Buffer.from([1, 0, 0, 0]), ContentType.HANDSHAKE)],
      [Alert.UNEXPECTED_MESSAGE, () => Buffer.from(get())],
      [
        Alert.BAD_RECORD_MAC,
        (write) => {
          const record = write.seal(Buffer.from('x'), ContentType.APPLICATION_DATA);
          record[record.length - 1] ^= 1;
          return record;
        },
      ],
    ];
    for (const [description, bytes] of cases) {
      const one = await new Secured().shaken();
      const { write, read } = one.byHand();
      one.client.sends(bytes(write));
      assert.deepEqual(opened(read, one.heard()), [{ kind: 'alert', description }]);
      assert.equal(one.stand.stateOf(one.client), 'closed');
      assert.equal(one.stand.counters.get('tls_records_refused'), 1);
      await one.peer.close();
    }
  });

  test('flipped bits: no request comes of them, and the connection ends unless it waits for more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (where) => {
        const one = await new Secured().shaken();
        const { write } = one.byHand();
        const record = write.seal(Buffer.from(get()), ContentType.APPLICATION_DATA);
        const bit = where % (8 * record.length);
        record[bit >> 3] ^= 1 << (bit & 7);
        one.client.sends(record);
        assert.equal(one.stand.deliveries.length, 0);
        const isLonger = one.stand.stateOf(one.client) === 'head';
        assert.ok(isLonger ? bit >> 3 === 3 || bit >> 3 === 4 : one.client.isOver);
        await one.peer.close();
      }),
      { numRuns: 40 },
    );
  });

  test('moves with a request that was read, which is answered there; and goes on there', async () => {
    const one = await new Secured().shaken();
    one.stand.choice = { node: 1, mechanism: 'migrate' };
    one.peer.socket.write(get('/moved'));
    await one.until(() => one.stand.moves.length === 1);
    const { connection } = one.stand.move;
    const { session } = connection;
    assert.equal(session?.held.toString(), get('/moved'));
    connection.moved();
    const there = new ClientStand({}, acceptor);
    const client = there.arrives({ session, serveFirst: true });
    assert.equal(there.delivery.request.head.target, '/moved');
    there.delivery.host.wayOut.out('anyone', null).send(Buffer.from('answer'), 0, false, true);
    there.delivery.finish();
    const { read } = one.byHand();
    read.push(Buffer.from(client.said, 'latin1'));
    assert.deepEqual(read.next(), { kind: 'data', bytes: Buffer.from('answer') });
    one.peer.wire.onBytes = (bytes) => client.sends(bytes);
    one.peer.socket.write(get('/next'));
    await one.peer.until(() => there.deliveries.length === 2);
    assert.equal(there.delivery.request.head.target, '/next');
    await one.peer.close();
  });

  test('a KeyUpdate that the socket does not take: between two requests the connection stays until it is out', async () => {
    const one = await new Secured().shaken();
    const { stand, client } = one;
    const { write, read } = one.byHand();
    stand.choice = { node: 1, mechanism: 'migrate' };
    client.room = 0;
    client.sends(write.update(true));
    client.sends(write.seal(Buffer.from(get('/stays')), ContentType.APPLICATION_DATA));
    assert.deepEqual([stand.moves.length, stand.delivery.request.head.target], [0, '/stays']);
    client.takes();
    one.answers(Buffer.from('well'));
    const well = { kind: 'data', bytes: Buffer.from('well') } as const;
    assert.deepEqual(opened(read, one.heard()), [{ kind: 'key-update', asks: false }, well]);
    client.sends(write.seal(Buffer.from(get('/moves')), ContentType.APPLICATION_DATA));
    assert.equal(stand.moves.length, 1);
    const { session } = stand.move.connection;
    assert.deepEqual([session?.serverRecord, session?.clientRecord], [1, 2], 'numbers of the new keys');
    await one.peer.close();
  });

  test('a KeyUpdate that waits in the middle of a response: it stays, for its numbers do not follow from its length any more', async () => {
    for (const asks of [false, true]) {
      const one = await new Secured().shaken();
      const { stand, client } = one;
      const { write, read } = one.byHand();
      // Nothing is read behind a request while it is answered: what comes with the end of its body is.
      const says = (bytes: Buffer) => write.seal(bytes, ContentType.APPLICATION_DATA);
      const piece = Buffer.alloc(BODY_BYTES / 10);
      client.sends(says(Buffer.from(post(BODY_BYTES))));
      for (let i = 1; i < 10; i++) client.sends(says(piece));
      const layout = { headBytes: 100, lengthBytes: 40_000 };
      const bytes = Buffer.alloc(layout.lengthBytes, 'x');
      const sink = stand.delivery.host.wayOut.out('anyone', layout);
      client.room = 20_000;
      assert.equal(sink.send(bytes.subarray(0, 100), 0, true, false), 100);
      const taken = sink.send(bytes, 100, false, true);
      assert.ok(taken > 0, 'sealed, and a part of it waits');
      stand.delivery.progress = { ...layout, validator: 1n, offset: 100 + taken };
      const end = says(piece);
      client.sends(asks ? Buffer.concat([end, write.update(true)]) : end);
      stand.connection(client).leaveFor(1);
      assert.equal(stand.moves.length, asks ? 0 : 1);
      if (asks) {
        assert.equal(stand.stateOf(client), 'busy');
        while (sink.flush() < 0) client.takes(1000);
        client.takes();
        stand.delivery.finish();
        // Behind it, what is to be said is said, and nothing is in the way.
        stand.connection(client).leaveFor(1);
        assert.equal(stand.moves.length, 1);
        const said = opened(read, one.heard());
        const data = Buffer.concat(said.map((part) => (part.kind === 'data' ? part.bytes : Buffer.alloc(0))));
        assert.equal(data.length, bytes.length);
        assert.deepEqual(said.at(-1), { kind: 'key-update', asks: false });
      }
      await one.peer.close();
    }
  });

  test('with TLS 1.2, whose key has sealed much, the next response is the last', async () => {
    for (const id of [0x1301, 0xc02f]) {
      const there = new ClientStand({}, acceptor);
      there.arrives({ session: sessionOf(id, UPDATE_RECORDS, get('/last')), serveFirst: true });
      assert.equal(there.delivery.request.close, suiteOf(id)!.version === 'TLSv1.2');
    }
  });

  test('one that cannot move, since the client is not read to the end of a message, is closed when its node goes', async () => {
    const one = await new Secured().shaken();
    const { write } = one.byHand();
    one.client.sends(write.seal(Buffer.from([24, 0]), ContentType.HANDSHAKE));
    one.stand.connection(one.client).leaveFor(1);
    assert.equal(one.stand.moves.length, 0);
    assert.equal(one.stand.stateOf(one.client), 'closed');
    await one.peer.close();
  });

  test('while it moves nothing is sealed here, even when it ends', async () => {
    const one = await new Secured().shaken();
    one.stand.connection(one.client).leaveFor(1);
    assert.equal(one.stand.stateOf(one.client), 'moving');
    const said = one.client.said.length;
    one.stand.connection(one.client).close();
    assert.equal(one.client.said.length, said, 'no close_notify');
    await one.peer.close();
  });

  test('its secrets are wiped with it', async () => {
    const one = await new Secured().shaken();
    const connection = one.stand.connection(one.client);
    one.client.closes();
    assert.throws(
      () => connection.channel.out('anyone', null).send(Buffer.from('x'), 0, false, true),
      /gone/,
    );
    await one.peer.close();
  });
});

describe('what comes to the TLS port', () => {
  const stand = (changes = {}) => new ClientStand(changes, acceptor);

  test('HTTP in the clear is told so, and the connection ends in order', () => {
    const one = stand();
    const client = one.connects(get(), true);
    assert.match(client.said, /^HTTP\/1\.1 400 Bad Request\r\n.*Connection: close.*https:\/\//s);
    assert.deepEqual(client.done, ['shut']);
    client.closes();
    assert.deepEqual(client.done, ['shut', 'close']);
    assert.equal(one.counters.get('tls_plain'), 1);
    const [{ status, mechanism }] = one.records();
    assert.deepEqual([status, mechanism], [400, 'local']);
  });

  test('garbage gets an alert; a client that goes on sending is dropped', () => {
    const one = stand();
    const client = one.connects('\u0001\u0002\u0003', true);
    assert.equal(client.said, '\u0015\u0003\u0003\u0000\u0002\u0002\u000a');
    one.pass(10_000);
    assert.deepEqual(client.done, ['shut', 'close']);
    assert.equal(one.counters.get('tls_garbage'), 1);
  });

  test('handshakes have as long as a head, and are so many: the oldest has to go', () => {
    const one = stand();
    const clients = Array.from({ length: LIMITS.handshakes + 1 }, () => one.connects('', true));
    assert.deepEqual(
      clients.map(({ done }) => done),
      [['close'], [], [], [], []],
    );
    assert.equal(one.counters.get('tls_evicted'), 1);
    assert.equal(one.connections.handshakes, LIMITS.handshakes);
    clients[1].closes();
    clients[2].resets();
    assert.equal(one.counters.get('tls_left'), 2);
    one.pass(LIMITS.headSeconds * 1000 + 200);
    assert.ok(clients.every(({ done }) => done.length === 1));
    assert.equal(one.counters.get('tls_timeouts'), 2);
    assert.equal(one.connections.size, 0);
  });

  test('there are so many connections, handshakes included', () => {
    const one = stand({ connections: 2 });
    one.connects('', true);
    one.connects();
    const third = one.connects('', true);
    assert.deepEqual([third.said, third.done], ['', ['close']]);
    assert.match(one.connects().said, /^HTTP\/1\.1 503/);
  });

  test('a node that stops ends handshakes', () => {
    const one = stand();
    const client = one.connects('', true);
    one.connections.endHandshakes();
    assert.deepEqual(client.done, ['close']);
  });
});
