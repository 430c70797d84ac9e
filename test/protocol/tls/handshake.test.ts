/** Handshakes with node:tls as the client: what comes of them, at which node they resume, and what cannot be. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import fc from 'fast-check';
import type { Credentials } from '../../../src/protocol/tls/contexts.ts';
import {
  type Handshake,
  type HandshakeResult,
  MAX_HANDSHAKE_BYTES,
  TlsAcceptor,
} from '../../../src/protocol/tls/handshake.ts';
import { ContentType } from '../../../src/protocol/tls/records.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { TICKET_SECONDS } from '../../../src/protocol/tls/ticket-keys.ts';
import { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { makePair } from './certificates.ts';
import { Peer } from './peer.ts';
import { speaking } from './session.ts';

const PAIR = makePair(['a.test', '*.b.test']);
const RSA = makePair(['a.test'], 'rsa');
const ANY: Credentials[] = [{ site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [PAIR] }];
const KEY = Buffer.alloc(32, 7);

class Clock {
  wallMs = Date.UTC(2026, 0, 1);
}

function acceptor(sites: readonly Credentials[] = ANY, clock = new Clock(), key = KEY): TlsAcceptor {
  return new TlsAcceptor(sites, key, clock);
}

/** Handshake of a client; `send`: how its bytes come here. */
async function shake(
  server: TlsAcceptor,
  options: ConnectionOptions = {},
  cut: (bytes: Buffer) => Buffer[] = (bytes) => [bytes],
): Promise<{ peer: Peer; handshake: Handshake }> {
  const peer = new Peer(options);
  const handshake = server.begin();
  peer.wire.onBytes = (bytes) => {
    for (const piece of cut(bytes))
      if (handshake.state === 'going') peer.hear(handshake.take(piece, 0, piece.length));
  };
  await peer.until(() => handshake.state !== 'going');
  return { peer, handshake };
}

/** The server says something under the secrets that it has, and the client understands it. */
async function says(peer: Peer, result: HandshakeResult, text: string): Promise<string> {
  const { suite, serverSecret: secret, serverRecord: number } = result;
  const write = new WriteHalf({ suite, secret, number });
  peer.hear(write.seal(Buffer.from(text), ContentType.APPLICATION_DATA));
  await peer.until(() => peer.received.length > 0);
  return peer.received.toString();
}

describe('a handshake', () => {
  for (const suite of SUITES) {
    const { name, version } = suite;
    for (const [kind, pairs] of [
      ['ECDSA', [PAIR]],
      ['RSA', [RSA]],
      ['both', [PAIR, RSA]],
    ] as const) {
      // With TLS 1.2 the suite names the kind of key.
      if (version === 'TLSv1.2' && kind !== 'both' && !name.includes(`-${kind}-`)) continue;
      test(`${name}, ${kind}: both ends have the same secrets`, async () => {
        const server = acceptor([{ site: 'a', hosts: ['a.test'], minVersion: 'TLSv1.2', pairs }]);
        const { peer, handshake } = await shake(server, {
          ...speaking(suite),
          ALPNProtocols: ['h2', 'http/1.1'],
        });
        const result = handshake.takeResult();
        assert.equal(result.suite.name, name);
        if (version === 'TLSv1.3') {
          assert.deepEqual(result.clientSecret, peer.secrets.get('CLIENT_TRAFFIC_SECRET_0'));
          assert.deepEqual(result.serverSecret, peer.secrets.get('SERVER_TRAFFIC_SECRET_0'));
        }
        assert.equal(result.serverName, 'a.test');
        assert.equal(result.resumed, false);
        assert.equal(await says(peer, result, 'hello'), 'hello');
        assert.equal(peer.socket.alpnProtocol, 'http/1.1');
        await peer.close();
        server.close();
      });
    }
  }

  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const)
    test(`${maxVersion}: bytes come one by one; what comes behind Finished is kept`, () =>
      behind({ maxVersion }));

  async function behind(options: ConnectionOptions): Promise<void> {
    const server = acceptor();
    const single = (bytes: Buffer) => [...bytes].map((byte) => Buffer.from([byte]));
    const { peer, handshake } = await shake(server, options, single);
    const result = handshake.takeResult();
    assert.equal(result.behind.length, 0);
    assert.equal(await says(peer, result, 'hello'), 'hello');
    await peer.close();
    const other = server.begin();
    const next = new Peer(options);
    const behind = Buffer.from('whatever follows');
    let flights = 0;
    next.wire.onBytes = (bytes) => {
      if (other.state !== 'going') return;
      const all = ++flights > 1 ? Buffer.concat([bytes, behind]) : bytes;
      next.hear(other.take(all, 0, all.length));
    };
    await next.until(() => other.state !== 'going');
    assert.deepEqual(other.takeResult().behind, behind);
    await next.close();
    server.close();
  }

  test('a hello in many records', async () => {
    const server = acceptor();
    const records = (bytes: Buffer) => {
      if (bytes[0] !== 22) return [bytes];
      const content = bytes.subarray(5);
      const pieces: Buffer[] = [];
      for (let at = 0; at < content.length; at += 10) {
        const piece = content.subarray(at, at + 10);
        pieces.push(Buffer.from([22, 3, 1, 0, piece.length]), piece);
      }
      return [Buffer.concat(pieces)];
    };
    const { peer, handshake } = await shake(server, {}, records);
    assert.equal(await says(peer, handshake.takeResult(), 'hello'), 'hello');
    await peer.close();
    server.close();
  });

  test('a client that has to ask with another key (HelloRetryRequest)', async () => {
    const server = acceptor();
    const { peer, handshake } = await shake(server, { ecdhCurve: 'P-521:P-256' });
    assert.equal(await says(peer, handshake.takeResult(), 'hello'), 'hello');
    await peer.close();
    server.close();
  });
});

describe('tickets', () => {
  /** Whether a session begun at `first` resumes at `second`; the client has as many tickets as it needs. */
  async function resumes(
    first: TlsAcceptor,
    second: TlsAcceptor,
    maxVersion: 'TLSv1.3' | 'TLSv1.2' = 'TLSv1.3',
  ): Promise<boolean> {
    const before = await shake(first, { maxVersion });
    const result = before.handshake.takeResult();
    const isNew = maxVersion === 'TLSv1.3';
    assert.equal(result.serverRecord, isNew ? 2 : 1, isNew ? 'two tickets' : 'Finished');
    await says(before.peer, result, 'x');
    await before.peer.until(() => before.peer.sessions.length > (isNew ? 1 : 0));
    await before.peer.close();
    const [session] = before.peer.sessions;
    const after = await shake(second, { session, maxVersion });
    const again = after.handshake.takeResult();
    assert.equal(await says(after.peer, again, 'y'), 'y');
    // Of a further ticket with TLS 1.2 node:tls does not tell.
    if (again.resumed && isNew) await after.peer.until(() => after.peer.sessions.length > 0);
    await after.peer.close();
    return again.resumed;
  }

  test('resume at another node, with new certificates, and not with another cluster key', async () => {
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      assert.equal(await resumes(acceptor(), acceptor(), version), true);
      const renewed = acceptor();
      renewed.use([{ site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [RSA] }]);
      assert.equal(await resumes(acceptor(), renewed, version), true);
      const other = acceptor(ANY, new Clock(), Buffer.alloc(32, 8));
      assert.equal(await resumes(acceptor(), other, version), false);
    }
  });

  test('are good a period later and a period before, and no longer', async () => {
    for (const [periods, expected] of [
      [1, true],
      [-1, true],
      [2, false],
      [-2, false],
    ] as const) {
      const clock = new Clock();
      clock.wallMs += periods * TICKET_SECONDS * 1000;
      assert.equal(await resumes(acceptor(), acceptor(ANY, clock)), expected, `${periods}`);
    }
  });

  test('a client that comes in every period resumes each time; keys that change in its handshake do no harm', async () => {
    const clock = new Clock();
    const server = acceptor(ANY, clock);
    let session: Buffer | undefined;
    for (let visit = 0; visit < 5; visit++) {
      const { peer, handshake } = await shake(server, { ...(session && { session }) }, (bytes) => {
        clock.wallMs += (TICKET_SECONDS * 1000) / 4;
        return [bytes];
      });
      const result = handshake.takeResult();
      assert.equal(result.resumed, visit > 0, `visit ${visit}`);
      assert.equal(await says(peer, result, 'hello'), 'hello');
      await peer.until(() => peer.sessions.length > 0);
      session = peer.sessions.at(-1);
      await peer.close();
      clock.wallMs += (TICKET_SECONDS * 1000) / 2;
    }
    server.close();
  });
});

describe('names', () => {
  test('choose the certificate: exact, wildcard, any; without one there is an alert', async () => {
    const exact = makePair(['a.test']);
    const wild = makePair(['*.b.test']);
    const any = makePair(['other']);
    const sites: Credentials[] = [
      { site: 'exact', hosts: ['a.test.'], minVersion: 'TLSv1.2', pairs: [exact] },
      { site: 'wild', hosts: ['*.b.test'], minVersion: 'TLSv1.2', pairs: [wild] },
    ];
    const all = acceptor([...sites, { site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [any] }]);
    const shown = async (servername: string) => {
      const { peer } = await shake(all, { servername });
      await peer.until(() => peer.socket.getPeerCertificate().subject !== undefined);
      const names = peer.socket.getPeerCertificate().subjectaltname;
      await peer.close();
      return names;
    };
    assert.equal(await shown('A.test'), 'DNS:a.test');
    assert.equal(await shown('x.y.b.test'), 'DNS:*.b.test');
    assert.equal(await shown('c.test'), 'DNS:other');
    assert.equal(await shown(''), 'DNS:other');
    const some = acceptor(sites);
    for (const servername of ['c.test', 'b.test', '']) {
      const { peer, handshake } = await shake(some, { servername });
      assert.equal(handshake.failure, 'name');
      await peer.until(() => peer.error !== null);
      assert.match(peer.error!.message, /unrecognized name/);
      await peer.close();
    }
    for (const server of [all, some]) server.close();
  });

  test('choose the oldest version as well, at the site whose name is asked for; a newer client is not asked', async () => {
    const sites: Credentials[] = [
      { site: 'new', hosts: ['a.test'], minVersion: 'TLSv1.3', pairs: [PAIR] },
      { site: 'old', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [PAIR] },
    ];
    const server = acceptor(sites);
    const asks = async (servername: string, maxVersion: 'TLSv1.2' | 'TLSv1.3') => {
      const { peer, handshake } = await shake(server, { servername, maxVersion });
      const { failure } = handshake;
      const result = failure ?? handshake.takeResult().suite.version;
      if (failure !== null) {
        await peer.until(() => peer.error !== null);
        assert.match(peer.error!.message, /protocol version/);
      }
      await peer.close();
      return result;
    };
    assert.equal(await asks('a.test', 'TLSv1.2'), 'common');
    assert.equal(await asks('a.test', 'TLSv1.3'), 'TLSv1.3');
    assert.equal(await asks('b.test', 'TLSv1.2'), 'TLSv1.2');
    // Of the same certificates: it has become another site's wish.
    server.use(sites.map((site) => ({ ...site, minVersion: 'TLSv1.2', pairs: null })));
    assert.equal(await asks('a.test', 'TLSv1.2'), 'TLSv1.2');
    server.close();
  });

  test('certificates are replaced while handshakes are in progress; broken ones change nothing', async () => {
    const server = acceptor();
    const peer = new Peer();
    const handshake = server.begin();
    const sent: Buffer[] = [];
    peer.wire.onBytes = (bytes) => sent.push(bytes);
    await peer.until(() => sent.length > 0);
    server.use([{ site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [makePair(['new'])] }]);
    const other = { chain: PAIR.chain, key: RSA.key };
    assert.equal(
      server.use([{ site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: [other] }])?.code,
      'KEY',
    );
    assert.equal(
      server.use([{ site: 'none', hosts: ['*'], minVersion: 'TLSv1.2', pairs: null }])?.code,
      'CERTIFICATE',
    );
    server.use([{ site: 'any', hosts: ['*'], minVersion: 'TLSv1.2', pairs: null }]);
    const take = (bytes: Buffer) => {
      if (handshake.state === 'going') peer.hear(handshake.take(bytes, 0, bytes.length));
    };
    peer.wire.onBytes = take;
    sent.forEach(take);
    await peer.until(() => handshake.state !== 'going');
    assert.equal(peer.socket.getPeerCertificate().subjectaltname, 'DNS:a.test, DNS:*.b.test');
    const { peer: next } = await shake(server);
    await next.until(() => next.socket.getPeerCertificate().subject !== undefined);
    assert.equal(next.socket.getPeerCertificate().subjectaltname, 'DNS:new');
    await peer.close();
    await next.close();
    server.close();
  });
});

describe('what cannot be', () => {
  const server = acceptor();
  const given = (...pieces: (string | Buffer)[]): Handshake => {
    const handshake = server.begin();
    for (const piece of pieces.map((one) => Buffer.from(one as string)))
      if (handshake.state === 'going') handshake.take(piece, 0, piece.length);
    return handshake;
  };

  test('HTTP in the clear, and what is neither', () => {
    for (const start of ['GET / HTTP/1.1\r\n\r\n', 'P', '\r\nGET /'])
      assert.equal(given(start).failure, 'plain');
    for (const start of [
      '\u0000',
      '\u0016\u0004\u0001\u0000\u0005',
      '\u0015\u0003\u0001\u0000\u0002\u0001\u0000',
    ])
      assert.equal(given(Buffer.from(start, 'latin1')).failure, 'garbage', JSON.stringify(start));
    assert.equal(given(Buffer.from([22, 3, 1, 0xff, 0xff])).failure, 'garbage');
    assert.equal(given(Buffer.from([22, 3, 1])).state, 'going');
  });

  test('nothing in common, and a client that refuses, are told apart, and the client hears why', async () => {
    const old = { maxVersion: 'TLSv1.2' } as const;
    const cases: Array<[ConnectionOptions, RegExp]> = [
      [{ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' }, /protocol version/],
      [{ ...old, ciphers: 'AES128-GCM-SHA256' }, /handshake failure/],
      [{ ...old, ciphers: 'ECDHE-ECDSA-AES128-SHA' }, /handshake failure/],
      [{ ...old, ecdhCurve: 'P-521' }, /handshake failure/],
      [{ ALPNProtocols: ['h2'] }, /no application protocol/],
      [{ ecdhCurve: 'P-521' }, /handshake failure/],
    ];
    for (const [options, message] of cases) {
      const { peer, handshake } = await shake(server, options);
      assert.equal(handshake.failure, 'common');
      await peer.until(() => peer.error !== null);
      assert.match(peer.error!.message, message);
      await peer.close();
    }
    const alert = Buffer.from([21, 3, 3, 0, 2, 2, 48]);
    const { peer, handshake } = await shake(server, {}, (bytes) => [bytes, alert]);
    assert.equal(handshake.failure, 'alert');
    await peer.close();
  });

  test('a hello without end', () => {
    const record = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(16384, 1)]);
    // A client hello that is announced with 2^24 - 1 bytes.
    record.set([1, 0xff, 0xff, 0xff], 5);
    assert.equal(given(record).state, 'failed');
    const part = Buffer.alloc(1000, 0);
    part.set([22, 3, 1, 0x40, 0]);
    const parts = Array.from({ length: 2 + MAX_HANDSHAKE_BYTES / part.length }, () => part);
    assert.equal(given(...parts).state, 'failed');
  });

  test('bits that are flipped, pieces that are left out, garbage: that handshake fails, and no other', async () => {
    for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) await fuzzed({ maxVersion });
  });

  async function fuzzed(options: ConnectionOptions): Promise<void> {
    const flights: Buffer[] = [];
    const { peer } = await shake(server, options, (bytes) => {
      flights.push(bytes);
      return [bytes];
    });
    await peer.close();
    const [hello] = flights;
    const first = Buffer.from(hello);
    const flips = fc.nat(first.length * 8 - 1);
    fc.assert(
      fc.property(flips, fc.uint8Array({ maxLength: 300 }), fc.nat(3), (bit, garbage, how) => {
        const bytes = Buffer.from(first);
        if (how === 0) bytes[bit >> 3] ^= 1 << (bit & 7);
        const sent = [
          [bytes, garbage],
          [bytes.subarray(0, bit >> 3), bytes.subarray((bit >> 3) + 1 + garbage.length)],
          [garbage, bytes],
          [bytes, bytes],
        ][how].map((one) => Buffer.from(one));
        const handshake = given(...sent);
        assert.notEqual(handshake.state, 'done');
        handshake.cancel();
      }),
      { numRuns: 500 },
    );
    const { peer: next, handshake } = await shake(server, options);
    assert.equal(await says(next, handshake.takeResult(), 'well'), 'well');
    await next.close();
  }

  test('the client’s second flight with TLS 1.2: no bit of it can be another, and no piece is missing', async () => {
    for (let run = 0; run < 40; run++) {
      let flights = 0;
      const { peer, handshake } = await shake(server, { maxVersion: 'TLSv1.2' }, (bytes) => {
        if (++flights !== 2) return [bytes];
        const changed = Buffer.from(bytes);
        const at = Math.floor((run * changed.length) / 40);
        changed[at] ^= 1 << (run % 8);
        // A record that has become longer waits for the rest.
        return [changed, Buffer.alloc(20_000)];
      });
      assert.notEqual(handshake.state, 'done', `byte ${run}`);
      handshake.cancel();
      await peer.close();
    }
  });
});
