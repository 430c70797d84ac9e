/** What clients may send after the handshake, and what they may not. Their records are made by node:crypto. */
import assert from 'node:assert/strict';
import { type CipherGCMTypes, createCipheriv } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Alert, TlsError, type TlsErrorCode } from '../../../src/protocol/tls/alerts.ts';
import {
  MAX_EMPTY_RECORDS,
  MAX_KEY_UPDATES,
  ReadHalf,
  type Received,
} from '../../../src/protocol/tls/read-half.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { nextHalf, type TrafficHalf, trafficKeys } from '../../../src/protocol/tls/traffic.ts';

const ALERT = 21;
const HANDSHAKE = 22;
const DATA = 23;

const halfOf = (suite = SUITES[0], number = 0): TrafficHalf => ({
  suite,
  secret: Buffer.alloc(suite.secretBytes, 7),
  number,
});

/** The record of `half` whose plaintext, type and padding included, is `inner`. */
function seal(half: TrafficHalf, inner: Buffer): Buffer {
  const { key, iv, number } = trafficKeys(half);
  const nonce = Buffer.from(iv);
  nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ BigInt(number), 4);
  const head = Buffer.from([23, 3, 3, 0, 0]);
  head.writeUInt16BE(inner.length + 16, 3);
  const cipher = createCipheriv(half.suite.aead as CipherGCMTypes, key, nonce, { authTagLength: 16 });
  cipher.setAAD(head, { plaintextLength: inner.length });
  return Buffer.concat([head, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
}

/** The record of a half of TLS 1.2; with AES its nonce is made from `chosen`. */
function seal12(half: TrafficHalf, type: number, content: Buffer, chosen = 0x1234n): Buffer {
  const { key, iv, number, suite } = { ...trafficKeys(half), suite: half.suite };
  const nonce = Buffer.from(iv);
  const isAes = suite.nonceBytes > 0;
  nonce.writeBigUInt64BE(isAes ? chosen + BigInt(number) : nonce.readBigUInt64BE(4) ^ BigInt(number), 4);
  const explicit = isAes ? nonce.subarray(4) : Buffer.alloc(0);
  const additional = Buffer.alloc(13);
  additional.writeBigUInt64BE(BigInt(number));
  additional.set([type, 3, 3], 8);
  additional.writeUInt16BE(content.length, 11);
  const cipher = createCipheriv(suite.aead as CipherGCMTypes, key, nonce, { authTagLength: 16 });
  cipher.setAAD(additional, { plaintextLength: content.length });
  const head = Buffer.from([type, 3, 3, 0, 0]);
  head.writeUInt16BE(explicit.length + content.length + 16, 3);
  return Buffer.concat([head, explicit, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

type Message = readonly [type: number, content: Buffer | string, padding?: number];

/** The client's messages as records, the first one the half's next. */
function records(half: TrafficHalf, ...messages: readonly Message[]): Buffer {
  let { number } = half;
  return Buffer.concat(
    messages.map(([type, content, padding = 0]) => {
      const one = { ...half, number: number++ };
      if (half.suite.version === 'TLSv1.2') return seal12(one, type, Buffer.from(content));
      return seal(one, Buffer.concat([Buffer.from(content), Buffer.from([type]), Buffer.alloc(padding)]));
    }),
  );
}

function drain(read: ReadHalf): Received[] {
  const list: Received[] = [];
  for (let one = read.next(); one !== null; one = read.next()) list.push(one);
  return list;
}

/** All that `bytes` say, cut at `cuts`. */
function hear(read: ReadHalf, bytes: Buffer, cuts: readonly number[] = []): Received[] {
  const places = [0, ...[...cuts].map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).flatMap((end, i) => {
    read.push(Buffer.from(bytes.subarray(places[i], end)));
    return drain(read);
  });
}

const open = (half = halfOf()) =>
  new ReadHalf({ half: { ...half, secret: Buffer.from(half.secret) }, rest: Buffer.alloc(0) });
const data = (text: string): Received => ({ kind: 'data', bytes: Buffer.from(text) });

function refuses(bytes: Buffer, code: TlsErrorCode, alert: Alert, half = halfOf()): void {
  assert.throws(
    () => hear(open(half), bytes),
    (error) => error instanceof TlsError && error.code === code && error.alert === alert,
    `${code} ${alert}`,
  );
}

describe('what a client may send', () => {
  test('data with any padding, wherever the stream is cut, from any number on', () => {
    const content = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((array) => Buffer.from(array));
    const messages = fc.array(fc.tuple(content, fc.nat(300)), { minLength: 1, maxLength: 8 });
    const numbers = fc.oneof(fc.nat(5), fc.constant(2 ** 32 - 2), fc.constant(2 ** 40 + 2 ** 32 - 1));
    fc.assert(
      fc.property(
        fc.constantFrom(...SUITES),
        numbers,
        messages,
        fc.array(fc.nat()),
        (suite, number, list, cuts) => {
          const half = halfOf(suite, number);
          const sent = records(half, ...list.map(([bytes, padding]): Message => [DATA, bytes, padding]));
          assert.deepEqual(
            hear(open(half), sent, cuts),
            list.map(([bytes]) => ({ kind: 'data', bytes })),
          );
        },
      ),
    );
  });

  test('the largest record, and none that is larger', () => {
    const full = Buffer.alloc(16384, 1);
    assert.deepEqual(hear(open(), records(halfOf(), [DATA, full])), [{ kind: 'data', bytes: full }]);
    const { RECORD_OVERFLOW } = Alert;
    refuses(records(halfOf(), [DATA, Buffer.alloc(16385, 1)]), 'RECORD_OVERFLOW', RECORD_OVERFLOW);
    refuses(records(halfOf(), [DATA, full, 1]), 'RECORD_OVERFLOW', RECORD_OVERFLOW);
    refuses(Buffer.from([23, 3, 3, 0x41, 0x01]), 'RECORD_OVERFLOW', RECORD_OVERFLOW);
  });

  test('KeyUpdate, whole or in parts, after which its keys are others', () => {
    const half = halfOf();
    const next = nextHalf(half);
    const sent = Buffer.concat([
      records(half, [DATA, 'a'], [HANDSHAKE, '\x18\0'], [HANDSHAKE, '\0\x01\x01']),
      records(next, [DATA, 'b'], [HANDSHAKE, '\x18\0\0\x01\0']),
      records(nextHalf(next), [DATA, 'c']),
    ]);
    const updates = [true, false].map((asks): Received => ({ kind: 'key-update', asks }));
    assert.deepEqual(hear(open(half), sent), [data('a'), updates[0], data('b'), updates[1], data('c')]);
  });

  test('its end, after which nothing counts', () => {
    const sent = Buffer.concat([records(halfOf(), [DATA, 'a'], [ALERT, '\x01\0']), Buffer.from('anything')]);
    const read = open();
    assert.deepEqual(hear(read, sent), [data('a'), { kind: 'end' }]);
    assert.deepEqual(hear(read, Buffer.from('more')), []);
  });

  test('that it has given up', () => {
    const sent = records(halfOf(), [ALERT, '\x01\x5a'], [ALERT, '\x02\x14']);
    assert.deepEqual(hear(open(), sent), [{ kind: 'alert', description: Alert.BAD_RECORD_MAC }]);
  });
});

describe('with TLS 1.2', () => {
  const suites = SUITES.filter(({ version }) => version === 'TLSv1.2');
  const { BAD_RECORD_MAC, NO_RENEGOTIATION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE } = Alert;

  test('an end, an alert, a full record, empty ones; no handshake and nothing larger', () => {
    for (const half of suites.map((suite) => halfOf(suite, 1))) {
      const full = Buffer.alloc(16384, 1);
      const sent = records(half, [DATA, full], [DATA, ''], [DATA, 'b'], [ALERT, '\x01\0']);
      assert.deepEqual(hear(open(half), sent), [{ kind: 'data', bytes: full }, data('b'), { kind: 'end' }]);
      refuses(records(half, [HANDSHAKE, '\x01\0\0\0']), 'UNEXPECTED', NO_RENEGOTIATION, half);
      refuses(records(half, [HANDSHAKE, '\x18\0\0\x01\0']), 'UNEXPECTED', NO_RENEGOTIATION, half);
      refuses(records(half, [HANDSHAKE, '']), 'UNEXPECTED', UNEXPECTED_MESSAGE, half);
      refuses(records(half, [20, '\x01']), 'UNEXPECTED', UNEXPECTED_MESSAGE, half);
      refuses(records(half, [ALERT, '\x01']), 'UNEXPECTED', UNEXPECTED_MESSAGE, half);
      refuses(records(half, [DATA, Buffer.alloc(16385)]), 'RECORD_OVERFLOW', RECORD_OVERFLOW, half);
      refuses(Buffer.from([DATA, 3, 3, 0, 5, 1, 2, 3, 4, 5]), 'BAD_RECORD', BAD_RECORD_MAC, half);
      const empty: readonly Message[] = Array.from({ length: MAX_EMPTY_RECORDS + 1 }, () => [DATA, '']);
      refuses(records(half, ...empty), 'EMPTY_RECORDS', UNEXPECTED_MESSAGE, half);
    }
  });

  test('any bit that was changed, and a record in another one’s place, ends the connection', () => {
    fc.assert(
      fc.property(fc.constantFrom(...suites), fc.nat(), fc.array(fc.nat()), (suite, where, cuts) => {
        const half = halfOf(suite, 1);
        const changed = records(half, [DATA, 'some data'], [DATA, 'more']);
        const bit = where % (8 * changed.length);
        changed[bit >> 3] ^= 1 << (bit & 7);
        const heard: Received[] = [];
        try {
          const read = open(half);
          heard.push(...hear(read, changed, cuts));
        } catch (error) {
          assert.ok(error instanceof TlsError);
        }
        // A length that has become larger waits for bytes.
        for (const one of heard) assert.deepEqual(one, data('some data'));
      }),
      { numRuns: 500 },
    );
    for (const suite of suites) {
      const half = halfOf(suite, 1);
      const [first, second] = [1, 2].map((number) => records({ ...half, number }, [DATA, 'a']));
      refuses(second, 'BAD_RECORD', BAD_RECORD_MAC, half);
      refuses(Buffer.concat([first, first]), 'BAD_RECORD', BAD_RECORD_MAC, half);
    }
  });
});

describe('what ends the connection', () => {
  const { UNEXPECTED_MESSAGE, BAD_RECORD_MAC, DECODE_ERROR, ILLEGAL_PARAMETER } = Alert;

  test('any bit that was changed, any byte that is missing', () => {
    const sent = records(halfOf(), [DATA, 'some data'], [DATA, 'more', 3]);
    fc.assert(
      fc.property(fc.nat(8 * sent.length - 1), fc.array(fc.nat()), (bit, cuts) => {
        const changed = Buffer.from(sent);
        changed[bit >> 3] ^= 1 << (bit & 7);
        const read = open();
        const heard: Received[] = [];
        try {
          heard.push(...hear(read, changed, cuts));
        } catch (error) {
          assert.ok(error instanceof TlsError);
        }
        // A length that has become larger waits for bytes.
        for (const one of heard) assert.deepEqual(one, data('some data'));
      }),
      { numRuns: 500 },
    );
    refuses(Buffer.concat([sent.subarray(0, 20), sent.subarray(21)]), 'BAD_RECORD', BAD_RECORD_MAC);
  });

  test('a record that comes twice, or not in its turn', () => {
    const first = records(halfOf(), [DATA, 'a']);
    refuses(Buffer.concat([first, first]), 'BAD_RECORD', BAD_RECORD_MAC);
    refuses(records(halfOf(SUITES[0], 1), [DATA, 'a']), 'BAD_RECORD', BAD_RECORD_MAC);
    refuses(Buffer.from([23, 3, 3, 0, 16, ...Buffer.alloc(16)]), 'BAD_RECORD', BAD_RECORD_MAC);
  });

  test('records that are not protected', () => {
    for (const type of [20, 21, 22, 24, 0, 'G'.charCodeAt(0)])
      refuses(Buffer.from([type, 3, 3, 0, 1, 1]), 'UNEXPECTED', UNEXPECTED_MESSAGE);
  });

  test('content that has no place here', () => {
    for (const type of [20, 24, 1, 255])
      refuses(records(halfOf(), [type, 'a']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
    refuses(seal(halfOf(), Buffer.alloc(30)), 'UNEXPECTED', UNEXPECTED_MESSAGE);
    refuses(records(halfOf(), [HANDSHAKE, '']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
    refuses(records(halfOf(), [ALERT, '\x01']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
    refuses(records(halfOf(), [ALERT, '\x01\0\x01']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
  });

  test('messages that are no KeyUpdate', () => {
    for (const type of [0, 1, 4, 5, 8, 11, 20])
      refuses(
        records(halfOf(), [HANDSHAKE, Buffer.from([type, 0, 0, 1, 0])]),
        'UNEXPECTED',
        UNEXPECTED_MESSAGE,
      );
    refuses(records(halfOf(), [HANDSHAKE, '\x18\0\0\x01\0\x18']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
    refuses(records(halfOf(), [HANDSHAKE, '\x18\0\0\x02\0']), 'MALFORMED', DECODE_ERROR);
    refuses(records(halfOf(), [HANDSHAKE, '\x18\x01']), 'MALFORMED', DECODE_ERROR);
    refuses(records(halfOf(), [HANDSHAKE, '\x18\0\0\x01\x02']), 'MALFORMED', ILLEGAL_PARAMETER);
    refuses(records(halfOf(), [HANDSHAKE, '\x18\0'], [DATA, 'a']), 'UNEXPECTED', UNEXPECTED_MESSAGE);
  });

  test('records that say nothing, one after the other', () => {
    const empty: readonly Message[] = Array.from({ length: MAX_EMPTY_RECORDS }, () => [DATA, '', 5]);
    const allowed = records(halfOf(), ...empty, [DATA, 'a'], ...empty, [DATA, 'b']);
    assert.deepEqual(hear(open(), allowed), [data('a'), data('b')]);
    refuses(records(halfOf(), ...empty, [DATA, '']), 'EMPTY_RECORDS', UNEXPECTED_MESSAGE);
    refuses(records(halfOf(), ...empty, [ALERT, '\x01\x5a']), 'EMPTY_RECORDS', UNEXPECTED_MESSAGE);
  });

  test('KeyUpdates without data between them', () => {
    let half = halfOf();
    const list: Buffer[] = [];
    for (let count = 0; count <= MAX_KEY_UPDATES; count++) {
      list.push(records(half, [HANDSHAKE, '\x18\0\0\x01\x01']));
      half = nextHalf(half);
    }
    assert.equal(hear(open(), Buffer.concat(list.slice(0, -1))).length, MAX_KEY_UPDATES);
    refuses(Buffer.concat(list), 'KEY_UPDATES', UNEXPECTED_MESSAGE);
  });
});

test('a half that moves goes on where it was, in the middle of a record', () => {
  const half = halfOf();
  const sent = Buffer.concat([
    records(half, [DATA, 'a'], [HANDSHAKE, '\x18\0\0\x01\0']),
    records(nextHalf(half), [DATA, 'b'], [DATA, 'c']),
  ]);
  fc.assert(
    fc.property(fc.nat(sent.length), (cut) => {
      const here = open(half);
      const heard = hear(here, sent.subarray(0, cut));
      const { state } = here;
      here.wipe();
      const there = new ReadHalf(state);
      heard.push(...hear(there, sent.subarray(cut)));
      assert.deepEqual(heard, [data('a'), { kind: 'key-update', asks: false }, data('b'), data('c')]);
    }),
  );
});
