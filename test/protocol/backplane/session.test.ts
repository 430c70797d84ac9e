import assert from 'node:assert/strict';
import {
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
} from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SessionError, type SessionErrorCode } from '../../../src/protocol/backplane/errors.ts';
import { GREETING_BYTES, PROOF_BYTES } from '../../../src/protocol/backplane/handshake.ts';
import {
  MAX_BATCH_BYTES,
  MAX_RECORD_BYTES,
  RecordKeys,
  recordLength,
  sealRecord,
} from '../../../src/protocol/backplane/record.ts';
import { Session } from '../../../src/protocol/backplane/session.ts';
import { handshakeBytes, KEY, openPair, sealed, session } from './generators.ts';

const throwsCode = (code: SessionErrorCode, run: () => void) =>
  assert.throws(run, (error) => error instanceof SessionError && error.code === code);

const feed = (to: Session, bytes: Buffer) => to.receiveHandshake(bytes, 0, bytes.length);

const opensAt = (to: Session, record: Buffer) => to.open(record, 0, record.length);

/** After any failure: no state but CLOSED, nothing to send, nothing more accepted. */
function assertDead(end: Session): void {
  assert.equal(end.state, 'CLOSED');
  assert.equal(end.takeHandshake(), null);
  throwsCode('BAD_STATE', () => end.seal(Buffer.from('x'), Buffer.alloc(100), 0));
  throwsCode('BAD_STATE', () => end.sealEnd(Buffer.alloc(100), 0));
  throwsCode('BAD_STATE', () => opensAt(end, Buffer.alloc(40)));
  throwsCode('BAD_STATE', () => feed(end, Buffer.alloc(72)));
}

/** Opens `accept` as the documents say, without the code under test; returns what the dial end seals with. */
function dialByHand(accept: Session): RecordKeys {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');
  const greeting = Buffer.concat([Buffer.from('42544f4e01010000', 'hex'), randomBytes(32), raw]);
  feed(accept, greeting);
  const answer = handshakeBytes(accept);
  const peer = createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: answer.subarray(40).toString('base64url') },
    format: 'jwk',
  });
  const transcript = createHash('sha256')
    .update(Buffer.concat([greeting, answer]))
    .digest();
  const secret = Buffer.concat([KEY, diffieHellman({ privateKey, publicKey: peer })]);
  const expand = (label: string, length: number) =>
    Buffer.from(hkdfSync('sha256', secret, transcript, `baton backplane 1 ${label}`, length));
  const proof = (role: string) =>
    createHmac('sha256', expand(`${role} proof`, 32))
      .update(Buffer.concat([Buffer.from(role), transcript]))
      .digest();
  feed(accept, proof('dial'));
  assert.deepEqual(handshakeBytes(accept), proof('accept'));
  return new RecordKeys(expand('dial records', 16));
}

describe('handshake', () => {
  it('opens both ends in four messages of fixed size', () => {
    const dial = session('dial');
    const accept = session('accept');
    assert.equal(handshakeBytes(accept).length, 0, 'the accept end waits');
    const greeting = handshakeBytes(dial);
    assert.equal(greeting.length, GREETING_BYTES);
    assert.equal(greeting.subarray(0, 8).toString('hex'), '42544f4e01010000');
    feed(accept, greeting);
    assert.equal(accept.state, 'WAIT_PROOF');
    const answer = handshakeBytes(accept);
    assert.equal(answer.length, GREETING_BYTES);
    assert.equal(answer.subarray(0, 8).toString('hex'), '42544f4e01020000');
    feed(dial, answer);
    assert.equal(dial.state, 'WAIT_PROOF');
    const proof = handshakeBytes(dial);
    assert.equal(proof.length, PROOF_BYTES);
    feed(accept, proof);
    assert.equal(accept.state, 'OPEN');
    const acceptProof = handshakeBytes(accept);
    assert.equal(acceptProof.length, PROOF_BYTES);
    feed(dial, acceptProof);
    assert.equal(dial.state, 'OPEN');
    assert.equal(opensAt(accept, sealed(dial, Buffer.from('to accept'))).toString(), 'to accept');
    assert.equal(opensAt(dial, sealed(accept, Buffer.from('to dial'))).toString(), 'to dial');
  });

  it('is determined by its inputs, and different for every random', () => {
    const seeded = (seed: number) => (bytes: number) => Buffer.alloc(bytes, seed++);
    const greeting = (seed: number) =>
      handshakeBytes(new Session({ role: 'dial', key: KEY, random: seeded(seed) }));
    assert.deepEqual(greeting(1), greeting(1));
    assert.notDeepEqual(greeting(1), greeting(2));
    const record = () => sealed(openPair().dial, Buffer.from('the same batch'));
    assert.notDeepEqual(record(), record(), 'sessions share no keys');
  });

  it('takes its bytes in any portions, and leaves what follows it', () => {
    for (let cut = 0; cut <= GREETING_BYTES; cut++) {
      const dial = session('dial');
      const accept = session('accept');
      const greeting = handshakeBytes(dial);
      feed(accept, greeting.subarray(0, cut));
      assert.equal(accept.state, cut < GREETING_BYTES ? 'WAIT_GREETING' : 'WAIT_PROOF');
      assert.equal(handshakeBytes(accept).length, cut < GREETING_BYTES ? 0 : GREETING_BYTES);
      feed(accept, greeting.subarray(cut));
      assert.equal(accept.state, 'WAIT_PROOF');
    }
    const dial = session('dial');
    const accept = session('accept');
    feed(accept, handshakeBytes(dial));
    feed(dial, handshakeBytes(accept));
    const proof = Buffer.concat([handshakeBytes(dial), Buffer.from('after')]);
    for (let i = 0; i < PROOF_BYTES - 1; i++) assert.equal(accept.receiveHandshake(proof, i, i + 1), i + 1);
    assert.equal(accept.state, 'WAIT_PROOF');
    assert.equal(accept.receiveHandshake(proof, PROOF_BYTES - 1, proof.length), PROOF_BYTES);
    assert.equal(accept.state, 'OPEN');
  });

  it('fails at the accept end with another key; a stranger has got one greeting', () => {
    const dial = session('dial', randomBytes(32));
    const accept = session('accept');
    feed(accept, handshakeBytes(dial));
    feed(dial, handshakeBytes(accept));
    throwsCode('WRONG_KEY', () => feed(accept, handshakeBytes(dial)));
    assertDead(accept);
  });

  it('fails at the dial end when the accept end does not know the key', () => {
    const dial = session('dial');
    const accept = session('accept', randomBytes(32));
    feed(accept, handshakeBytes(dial));
    feed(dial, handshakeBytes(accept));
    throwsCode('WRONG_KEY', () => feed(dial, randomBytes(PROOF_BYTES)));
    assertDead(dial);

    const mirrored = session('dial');
    const stranger = session('accept');
    feed(stranger, handshakeBytes(mirrored));
    feed(mirrored, handshakeBytes(stranger));
    const own = handshakeBytes(mirrored);
    throwsCode('WRONG_KEY', () => feed(mirrored, own));
  });

  // X25519 ignores a public key's top bit: there both ends agree on the secret, and only the transcript differs.
  it('fails for every changed bit of every message, at one end or the other', () => {
    for (const changed of [0, 1, 2, 3]) {
      const bits = (changed < 2 ? GREETING_BYTES : PROOF_BYTES) * 8;
      for (let bit = 0; bit < bits; bit++) {
        const ends = [session('dial'), session('accept')];
        assert.throws(() => {
          for (let turn = 0; turn < 4; turn++) {
            const message = handshakeBytes(ends[turn % 2]);
            if (turn === changed) message[bit >> 3] ^= 1 << (bit & 7);
            feed(ends[(turn + 1) % 2], message);
          }
        }, SessionError);
        assert.ok(ends.some((end) => end.state === 'CLOSED'));
        assert.notEqual(ends[(changed + 1) % 2].state, 'OPEN', 'the end that got the changed message');
      }
    }
  });

  it('names garbage by its first eight bytes, and answers nothing', () => {
    const cases: [SessionErrorCode, string][] = [
      ['MALFORMED', '474554202f204854'],
      ['VERSION', '42544f4e00010000'],
      ['VERSION', '42544f4e02010000'],
      ['MALFORMED', '42544f4e01030000'],
      ['MALFORMED', '42544f4e01010001'],
      ['REFLECTED', '42544f4e01020000'],
    ];
    for (const [code, hex] of cases) {
      const accept = session('accept');
      throwsCode(code, () => feed(accept, Buffer.from(hex, 'hex')));
      assertDead(accept);
    }
  });

  it('turns away any garbage within the size of a handshake', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<'dial' | 'accept'>('dial', 'accept'),
        fc.boolean(),
        fc.uint8Array({ minLength: GREETING_BYTES + PROOF_BYTES, maxLength: 300 }),
        (role, goodPrefix, array) => {
          const end = session(role);
          const bytes = Buffer.from(array);
          if (goodPrefix) bytes.set(Buffer.from(`42544f4e010${role === 'dial' ? 2 : 1}0000`, 'hex'));
          assert.throws(() => feed(end, bytes), SessionError);
          assertDead(end);
        },
      ),
    );
  });

  it('makes no key for a greeting that is not whole', () => {
    let asked = 0;
    const random = (bytes: number) => {
      asked++;
      return randomBytes(bytes);
    };
    const accept = new Session({ role: 'accept', key: KEY, random });
    const greeting = handshakeBytes(session('dial'));
    feed(accept, greeting.subarray(0, GREETING_BYTES - 1));
    assert.equal(asked, 0);
    feed(accept, greeting.subarray(GREETING_BYTES - 1));
    assert.equal(asked, 2);
    assert.equal(handshakeBytes(accept).length, GREETING_BYTES);
  });

  it('refuses its own greeting, nonce or key, and keys of low order', () => {
    const reflected = session('dial');
    const own = handshakeBytes(reflected);
    throwsCode('REFLECTED', () => feed(reflected, own));
    for (const [from, to] of [
      [8, 40],
      [40, 72],
    ]) {
      const dial = session('dial');
      const mine = handshakeBytes(dial);
      const accept = session('accept');
      feed(accept, mine);
      const answer = handshakeBytes(accept);
      mine.copy(answer, from, from, to);
      throwsCode('REFLECTED', () => feed(dial, answer));
    }
    const dial = session('dial');
    const accept = session('accept');
    feed(accept, handshakeBytes(dial));
    const zero = handshakeBytes(accept).fill(0, 40);
    throwsCode('MALFORMED', () => feed(dial, zero));
    assertDead(dial);
  });

  it('does not accept the proof of an earlier handshake', () => {
    const dial = session('dial');
    const first = session('accept');
    const greeting = handshakeBytes(dial);
    feed(first, greeting);
    feed(dial, handshakeBytes(first));
    const proof = handshakeBytes(dial);
    feed(first, proof);
    assert.equal(first.state, 'OPEN');
    const second = session('accept');
    feed(second, greeting);
    throwsCode('WRONG_KEY', () => feed(second, proof));
  });

  it('allows nothing out of turn', () => {
    const accept = session('accept');
    throwsCode('BAD_STATE', () => accept.seal(Buffer.from('x'), Buffer.alloc(100), 0));
    assertDead(accept);
    const dial = session('dial');
    throwsCode('BAD_STATE', () => opensAt(dial, Buffer.alloc(40)));
    assertDead(dial);
    const open = openPair().dial;
    throwsCode('BAD_STATE', () => feed(open, Buffer.alloc(1)));
    assertDead(open);
    assert.throws(() => session('dial', Buffer.alloc(31)), RangeError);
  });
});

describe('records', () => {
  it('open in order, in both directions, up to the largest', () => {
    const { dial, accept } = openPair();
    for (const size of [1, 15, 16, 17, 200, 16384, MAX_BATCH_BYTES]) {
      const batch = randomBytes(size);
      const record = sealed(dial, batch);
      assert.equal(recordLength(record, 0), record.length);
      assert.ok(record.length <= MAX_RECORD_BYTES);
      assert.deepEqual(opensAt(accept, record), batch);
      assert.deepEqual(opensAt(dial, sealed(accept, batch)), batch);
    }
    assert.throws(() => dial.seal(Buffer.alloc(MAX_BATCH_BYTES + 1), Buffer.alloc(300_000), 0), RangeError);
    assert.throws(() => dial.seal(Buffer.alloc(0), Buffer.alloc(100), 0), RangeError);
    assert.throws(() => dial.seal(Buffer.alloc(10), Buffer.alloc(100), 71), RangeError);
    assert.equal(dial.state, 'OPEN', 'a caller error harms no session');
  });

  it('fail to open with any one bit changed', () => {
    // A failed open closes its session, so each bit has its own; a short record keeps that quick.
    const bits = (20 + 5) * 8;
    for (let bit = 0; bit < bits; bit++) {
      const { dial, accept } = openPair();
      const record = sealed(dial, Buffer.from('batch'));
      record[bit >> 3] ^= 1 << (bit & 7);
      throwsCode('BAD_RECORD', () => opensAt(accept, record));
      assertDead(accept);
    }
  });

  it('fail to open when cut anywhere, or lengthened', () => {
    for (const length of [20, 21, 24, 26]) {
      const { dial, accept } = openPair();
      const record = Buffer.concat([sealed(dial, Buffer.from('batch')), Buffer.alloc(1)]);
      const other = record.subarray(0, length);
      throwsCode('BAD_RECORD', () => opensAt(accept, other));
      assertDead(accept);
    }
  });

  it('fail to open when replayed, reordered, skipped or reflected', () => {
    const replay = openPair();
    const record = sealed(replay.dial, Buffer.from('one'));
    opensAt(replay.accept, record);
    throwsCode('BAD_RECORD', () => opensAt(replay.accept, record));
    assertDead(replay.accept);

    const reorder = openPair();
    sealed(reorder.dial, Buffer.from('one'));
    const second = sealed(reorder.dial, Buffer.from('two'));
    throwsCode('BAD_RECORD', () => opensAt(reorder.accept, second));
    assertDead(reorder.accept);

    const reflect = openPair();
    const own = sealed(reflect.dial, Buffer.from('one'));
    throwsCode('BAD_RECORD', () => opensAt(reflect.dial, own));
    assertDead(reflect.dial);

    const foreign = sealed(openPair().dial, Buffer.from('one'));
    throwsCode('BAD_RECORD', () => opensAt(openPair().accept, foreign));
  });

  it('end with an end record, after which there is nothing', () => {
    const { dial, accept } = openPair();
    const end = Buffer.alloc(20);
    assert.equal(dial.sealEnd(end, 0), 20);
    assert.equal(opensAt(accept, end).length, 0);
    assert.equal(accept.receivedEnd, true);
    assert.equal(opensAt(dial, sealed(accept, Buffer.from('still'))).toString(), 'still');
    throwsCode('BAD_STATE', () => dial.seal(Buffer.from('more'), Buffer.alloc(100), 0));
  });

  it('after an end record are refused, even good ones', () => {
    const accept = session('accept');
    const keys = dialByHand(accept);
    const record = (batch: Buffer) => {
      const bytes = Buffer.alloc(batch.length + 20);
      sealRecord(keys, batch, bytes, 0);
      return bytes;
    };
    assert.equal(opensAt(accept, record(Buffer.from('one'))).toString(), 'one');
    assert.equal(opensAt(accept, record(Buffer.alloc(0))).length, 0);
    const more = record(Buffer.from('more'));
    throwsCode('BAD_RECORD', () => opensAt(accept, more));
    assertDead(accept);
  });

  it('have lengths within bounds', () => {
    const length = (value: number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return () => recordLength(bytes, 0);
    };
    assert.equal(length(20)(), 20);
    assert.equal(length(MAX_RECORD_BYTES)(), MAX_RECORD_BYTES);
    throwsCode('MALFORMED', length(0));
    throwsCode('MALFORMED', length(19));
    throwsCode('TOO_LARGE', length(MAX_RECORD_BYTES + 1));
    throwsCode('TOO_LARGE', length(0xffffffff));
  });
});
