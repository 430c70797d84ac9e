/** Own records against those of node:tls. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Alert, alertContent } from '../../../src/protocol/tls/alerts.ts';
import { ReadHalf, type Received } from '../../../src/protocol/tls/read-half.ts';
import { ContentType } from '../../../src/protocol/tls/records.ts';
import { SUITES, suiteOf } from '../../../src/protocol/tls/suites.ts';
import { type TrafficHalf, wipeKeys } from '../../../src/protocol/tls/traffic.ts';
import { UPDATE_RECORDS, WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { openSession, type Session } from './session.ts';

/** What the client says, until `enough` of it is there. */
function hear(session: Session, read: ReadHalf, enough: (list: readonly Received[]) => boolean) {
  const list: Received[] = [];
  return new Promise<Received[]>((resolve) => {
    session.onBytes((bytes) => {
      // In pieces that end anywhere.
      for (let at = 0; at < bytes.length; at += 1000) {
        read.push(bytes.subarray(at, at + 1000));
        for (let one = read.next(); one !== null; one = read.next()) list.push(one);
      }
      if (enough(list)) resolve(list);
    });
  });
}

const bytesOf = (list: readonly Received[]) =>
  Buffer.concat(list.map((one) => (one.kind === 'data' ? one.bytes : Buffer.alloc(0))));

const dataRecords = (write: WriteHalf, bytes: Buffer) => {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 16384)
    records.push(write.seal(bytes.subarray(at, at + 16384), ContentType.APPLICATION_DATA));
  return Buffer.concat(records);
};

/** What the client gets next. */
function clientGets({ client }: Session, bytes: number): Promise<Buffer> {
  const got: Buffer[] = [];
  return new Promise((resolve) => {
    client.on('data', function more(chunk: Buffer) {
      got.push(chunk);
      const all = Buffer.concat(got);
      if (all.length < bytes) return;
      client.off('data', more);
      resolve(all);
    });
  });
}

/** What the iv was made from: record 0 has it as it is. */
const finishedNonce = ({ secret }: TrafficHalf) => secret.subarray(-8);

for (const suite of SUITES) {
  test(`${suite.name}: node:tls takes our records, and we take its; keys change at both ends where they can`, async () => {
    const session = await openSession(suite);
    const read = new ReadHalf({ half: session.read, rest: Buffer.alloc(0) });
    const write = new WriteHalf(session.write);
    for (let round = 0; round < 3; round++) {
      const up = randomBytes(40_000);
      const heard = hear(session, read, (list) => bytesOf(list).length === up.length);
      session.client.write(up);
      assert.deepEqual(bytesOf(await heard), up);
      const down = randomBytes(50_000);
      const got = clientGets(session, down.length);
      session.send(dataRecords(write, down));
      assert.deepEqual(await got, down);
      if (suite.version === 'TLSv1.2') continue;
      // It answers with its own KeyUpdate, before its next data.
      const updated = hear(session, read, (list) => list.some(({ kind }) => kind === 'data'));
      const gone = clientGets(session, 5);
      session.send(write.update(true));
      session.send(dataRecords(write, Buffer.from('go on')));
      await gone;
      session.client.write('yes');
      const answer = await updated;
      assert.deepEqual(answer, [
        { kind: 'key-update', asks: false },
        { kind: 'data', bytes: Buffer.from('yes') },
      ]);
    }
    const ended = hear(session, read, (list) => list.length > 0);
    session.send(write.seal(alertContent(Alert.CLOSE_NOTIFY), ContentType.ALERT));
    session.client.end();
    assert.deepEqual(await ended, [{ kind: 'end' }]);
    session.destroy();
  });
}

test('a lent half seals here again only from the number that comes back', async () => {
  const session = await openSession(SUITES[0]);
  const write = new WriteHalf(session.write);
  const keys = write.lend(1);
  assert.throws(() => write.sealer, /lent/);
  assert.throws(() => write.lend(1), /lent/);
  assert.throws(() => write.update(false), /lent/);
  assert.throws(() => write.takeBack(keys.number - 1), /twice/);
  write.takeBack(keys.number);
  const got = clientGets(session, 5);
  session.send(dataRecords(write, Buffer.from('again')));
  assert.deepEqual(await got, Buffer.from('again'));
  const half = write.state;
  write.wipe();
  assert.equal(half.number, keys.number + 1);
  assert.throws(() => write.sealer, /gone/);
  const elsewhere = new WriteHalf(half);
  const more = clientGets(session, 4);
  session.send(elsewhere.seal(Buffer.from('more'), ContentType.APPLICATION_DATA));
  assert.deepEqual(await more, Buffer.from('more'));
  elsewhere.wipe();
  assert.deepEqual(half.secret, Buffer.alloc(half.secret.length), 'the secret is wiped');
  session.destroy();
});

test('what is made of the secret to lend it is wiped with it, and when the key changes', () => {
  const suite = suiteOf(0x1301)!;
  for (const end of ['wipe', 'update'] as const) {
    let kept = 0;
    for (let i = 0; i < 8; i++) {
      const write = new WriteHalf({ suite, secret: randomBytes(suite.secretBytes), number: 2 });
      const lent = write.lend(1);
      // Small buffers lie in one block, the half's own copy beside the one that was lent, unless a new block begins.
      const block = Buffer.from(lent.key.buffer);
      const key = Buffer.alloc(lent.key.length, lent.key);
      wipeKeys(lent);
      write.takeBackUnused();
      if (block.includes(key)) kept++;
      if (end === 'wipe') write.wipe();
      else write.update(false);
      assert.ok(!block.includes(key), end);
      write.wipe();
    }
    assert.ok(kept > 0, 'it is kept for the next one');
  }
});

test('a key is foreign to a node when anybody else has sealed a response by it', () => {
  const [suite] = SUITES;
  const open = () => new WriteHalf({ suite, secret: Buffer.alloc(suite.secretBytes, 1), number: 2 });
  const say = (write: WriteHalf) => write.seal(Buffer.from('x'), ContentType.APPLICATION_DATA);
  const foreign = (write: WriteHalf) => [1, 2].map((node) => write.isForeignTo(node));
  const write = open();
  assert.deepEqual(foreign(write), [false, false], 'tickets are of no response');
  const { number } = write.lend(1);
  write.takeBack(number + 5);
  assert.deepEqual([...foreign(write), write.isShared], [false, true, true]);
  write.lend(1);
  write.takeBackUnused();
  assert.deepEqual(foreign(write), [false, true]);
  // In the middle of a response, where no key can change.
  write.lend(2);
  write.takeBackUnused();
  assert.deepEqual(foreign(write), [true, true]);
  write.update(false);
  assert.deepEqual([...foreign(write), write.isShared], [false, false, false]);
  say(write);
  assert.deepEqual([...foreign(write), write.isShared], [true, true, false]);
  write.lend(1);
  write.takeBackUnused();
  assert.deepEqual(foreign(write), [true, true], 'what was sealed here before it was lent');
  write.wipe();
});

test('a key is due for the next long before it has sealed all that it may; with TLS 1.2 the connection is to end', () => {
  for (const id of [0x1301, 0xc02f]) {
    const suite = suiteOf(id)!;
    const isReplaced = suite.version === 'TLSv1.3';
    const half = { suite, secret: Buffer.alloc(suite.secretBytes, 1), number: UPDATE_RECORDS - 1 };
    const write = new WriteHalf(half);
    assert.deepEqual([write.isUpdateDue, write.isWorn], [false, false]);
    write.seal(Buffer.from('one more'), ContentType.APPLICATION_DATA);
    assert.deepEqual([write.isUpdateDue, write.isWorn], [isReplaced, !isReplaced]);
    if (isReplaced) {
      write.update(false);
      assert.deepEqual([write.isUpdateDue, write.isWorn], [false, false]);
      assert.equal(write.sealer.number, 0);
    } else {
      assert.throws(() => write.update(false), /the only one/);
    }
    write.wipe();
  }
});

test('with AES of TLS 1.2 no record has the nonce of another one, the server’s Finished included', async () => {
  const session = await openSession(suiteOf(0xc02b)!);
  const write = new WriteHalf(session.write);
  const nonces = new Set([finishedNonce(session.write).toString('hex')]);
  for (let i = 1; i <= 300; i++)
    nonces.add(write.seal(Buffer.from('x'), ContentType.APPLICATION_DATA).toString('hex', 5, 13));
  assert.equal(nonces.size, 301);
  session.destroy();
});
