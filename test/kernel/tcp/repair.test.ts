import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { formatAddress } from '../../../src/base/address.ts';
import { setDeaf, setHearing } from '../../../src/kernel/linux/deaf.ts';
import { check } from '../../../src/kernel/linux/errors.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { closeRawSockets } from '../../../src/kernel/linux/raw.ts';
import { lastInfo, readInfo } from '../../../src/kernel/linux/repair-options.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { capture, restore, silentClose, thaw } from '../../../src/kernel/linux/tcp-repair.ts';
import { decodeState, encodeState } from '../../../src/kernel/tcp/codec.ts';
import { add, distance } from '../../../src/kernel/tcp/sequence.ts';
import type { ConnectionState } from '../../../src/kernel/tcp/state.ts';
import { Random } from '../../../src/tools/lab/random.ts';
import { Wire } from '../router/wire.ts';
import { connected, facing, ignoreResets, type Live, until } from './live.ts';
import { privateNetwork, skipWithoutRoot } from './network.ts';

const skip = skipWithoutRoot();
const MOVES = 1000;
const SO_SNDBUF = 7;
/** A move at every so many bytes of a response. */
const STEP_BYTES = 1000;
const RESPONSE_BYTES = 5_000_000;
const TIMESTAMP_OPTION_BYTES = 12;

before(() => {
  if (skip === false) privateNetwork();
});
after(closeRawSockets);

/** Moves the server's end through bytes, as a migration does; returns the state that travelled. */
function move(live: Live): ConnectionState {
  const state = capture(live.server, { freeze: true });
  const bytes = encodeState(state);
  silentClose(live.server);
  live.server = restore(decodeState(bytes));
  return state;
}

/** Both directions still work, to the end: data, then FIN from the server, then FIN from the client. */
async function finish(live: Live): Promise<void> {
  live.toServer.write(live.client, 3000);
  live.toClient.write(live.server, 5000);
  await live.toServer.drain(live.server);
  await live.toClient.drain(live.client);
  check('shutdown', libc.shutdown(live.server, sockets.SHUT_WR));
  await until(() => live.toClient.read(live.client) === -1);
  libc.close(live.client);
  await until(() => live.toServer.read(live.server) === -1);
  libc.close(live.server);
}

/** What a TCP segment from a port carries; null: another's. Only its headers are looked at. */
function stretchOf(frame: Buffer, port: number): { seq: number; bytes: number } | null {
  const four = frame.readUInt16BE(12) === 0x0800;
  const tcp = frame.subarray(four ? 34 : 54);
  if (tcp.readUInt16BE(0) !== port) return null;
  const ipBytes = four ? frame.readUInt16BE(16) - 20 : frame.readUInt16BE(18);
  return { seq: tcp.readUInt32BE(4), bytes: ipBytes - (tcp[12] >> 4) * 4 };
}

for (const address of ['127.0.0.1', '::1']) {
  test(`${address}: an idle connection`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    const state = move(live);
    assert.equal(formatAddress(state.public.address), address);
    assert.deepEqual(sockets.localEndpoint(live.server), state.public);
    assert.deepEqual(sockets.remoteEndpoint(live.server), state.client);
    assert.deepEqual(
      [state.sendQueue.length, state.unsentQueue.length, state.receiveQueue.length],
      [0, 0, 0],
    );
    assert.ok(state.options.sack && state.options.timestamps && state.options.sendScale >= 0);
    const again = capture(live.server);
    assert.deepEqual(again.options, state.options);
    assert.equal(again.sendSequence, state.sendSequence);
    assert.equal(again.receiveSequence, state.receiveSequence);
    assert.equal(again.mss, Math.min(state.mss, 32_767));
    readInfo(live.server);
    assert.equal(lastInfo.sendMss(), again.mss - TIMESTAMP_OPTION_BYTES, 'segments are as large as before');
    assert.ok(distance(state.advertisedEdge, again.advertisedEdge) >= 0, 'the window never shrinks');
    assert.ok(distance(state.timestamp, again.timestamp) >= 0, 'the clock never goes back');
    await finish(live);
  });

  test(`${address}: capture without freeze leaves the connection in use`, { skip }, async () => {
    const live = connected(address);
    live.toServer.write(live.client, 1000);
    await until(() => sockets.receiveQueueBytes(live.server) === 1000);
    const state = capture(live.server);
    live.toServer.verify(state.receiveQueue);
    live.toServer.verified = 0;
    await finish(live);
  });

  test(`${address}: thaw goes on where freeze stopped`, { skip }, async () => {
    const live = connected(address);
    capture(live.server, { freeze: true });
    live.toServer.write(live.client, 1000);
    assert.equal(sockets.receiveQueueBytes(live.server), 0, 'a frozen socket takes nothing');
    assert.equal(sockets.sendQueueBytes(live.client), 1000, 'and acknowledges nothing');
    thaw(live.server);
    await finish(live);
  });

  test(`${address}: what was acknowledged to a frozen socket is known after the thaw`, { skip }, async () => {
    const live = connected(address);
    const retransmissions = () => {
      readInfo(live.server);
      return lastInfo.totalRetransmissions();
    };
    setDeaf(live.client);
    live.toClient.write(live.server, 1000);
    capture(live.server, { freeze: true });
    setHearing(live.client);
    await until(() => sockets.receiveQueueBytes(live.client) === 1000);
    assert.equal(sockets.sendQueueBytes(live.server), 1000);
    const before = retransmissions();
    thaw(live.server);
    await until(() => sockets.sendQueueBytes(live.server) === 0);
    assert.equal(retransmissions(), before, 'the client was asked');
    await finish(live);
  });

  test(`${address}: received and not read`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    live.toServer.write(live.client, 40_000);
    await until(() => sockets.receiveQueueBytes(live.server) === 40_000);
    assert.equal(live.toServer.read(live.server, 1234), 1234);
    const state = move(live);
    assert.equal(state.receiveQueue.length, 40_000 - 1234);
    assert.equal(sockets.receiveQueueBytes(live.server), 40_000 - 1234);
    await finish(live);
  });

  test(`${address}: sent and not acknowledged, and not sent`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    setDeaf(live.client);
    assert.equal(live.toClient.write(live.server, 300_000), 300_000);
    const start = sockets.unsentBytes(live.server);
    assert.ok(start > 0 && start < 300_000, `${start} of 300000 bytes unsent`);
    const state = capture(live.server, { freeze: true });
    assert.equal(state.unsentQueue.length, start);
    assert.equal(state.sendQueue.length, 300_000 - start);
    silentClose(live.server);
    setHearing(live.client);
    ignoreResets(live.client);
    live.server = restore(state);
    await finish(live);
  });

  test(`${address}: what was not sent ends its segment`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    setDeaf(live.client);
    const bytes = 300_001;
    assert.equal(live.toClient.write(live.server, bytes), bytes);
    const state = capture(live.server, { freeze: true });
    assert.ok(state.unsentQueue.length > 0);
    silentClose(live.server);
    const wire = new Wire();
    live.server = restore(state);
    live.toClient.write(live.server, 5000);
    setHearing(live.client);
    ignoreResets(live.client);
    await finish(live);
    const ends = state.sendSequence;
    const sent = wire.take(0).map((frame) => stretchOf(frame, state.public.port));
    wire.close();
    assert.ok(sent.some((stretch) => stretch !== null && add(stretch.seq, stretch.bytes) === ends));
    const across = sent.filter(
      (stretch) =>
        stretch !== null && distance(stretch.seq, ends) > 0 && distance(stretch.seq, ends) < stretch.bytes,
    );
    assert.deepEqual(across, [], 'segments with bytes of both');
  });

  test(`${address}: the client's FIN received, behind unread data`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    live.toServer.write(live.client, 5000);
    check('shutdown', libc.shutdown(live.client, sockets.SHUT_WR));
    await until(() => capture(live.server).finReceived);
    const state = move(live);
    assert.equal(state.finReceived, true);
    assert.equal(state.receiveQueue.length, 5000);
    const again = capture(live.server);
    assert.equal(again.finReceived, true);
    assert.equal(again.receiveSequence, state.receiveSequence);
    assert.equal(again.sendSequence, state.sendSequence);
    await live.toServer.drain(live.server);
    assert.equal(live.toServer.read(live.server), -1, 'then the end');
    live.toClient.write(live.server, 20_000);
    await live.toClient.drain(live.client);
    libc.close(live.server);
    await until(() => live.toClient.read(live.client) === -1);
    libc.close(live.client);
  });

  test(`${address}: our FIN sent, the client still talks`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    live.toClient.write(live.server, 5000);
    check('shutdown', libc.shutdown(live.server, sockets.SHUT_WR));
    await live.toClient.drain(live.client);
    await until(() => live.toClient.read(live.client) === -1);
    const state = move(live);
    assert.equal(state.finSent, true);
    live.toServer.write(live.client, 9000);
    await live.toServer.drain(live.server);
    libc.close(live.client);
    await until(() => live.toServer.read(live.server) === -1);
    libc.close(live.server);
  });

  test(`${address}: our FIN and the data before it lost on the way`, { skip }, async () => {
    const live = connected(address);
    setDeaf(live.client);
    live.toClient.write(live.server, 5000);
    check('shutdown', libc.shutdown(live.server, sockets.SHUT_WR));
    const state = capture(live.server, { freeze: true });
    assert.equal(state.sendQueue.length + state.unsentQueue.length, 5000);
    assert.equal(state.finSent, true);
    silentClose(live.server);
    setHearing(live.client);
    ignoreResets(live.client);
    live.server = restore(state);
    await live.toClient.drain(live.client);
    await until(() => live.toClient.read(live.client) === -1);
    libc.close(live.client);
    libc.close(live.server);
  });

  test(`${address}: every way across 2^32`, { skip }, async () => {
    for (const before of [1, 100, 1460, 20_000]) {
      const live = facing(address, 20_000 + 2 * (before % 1000), add(0, -before), add(0, -before));
      ignoreResets(live.client);
      live.toServer.write(live.client, 10_000);
      await until(() => sockets.receiveQueueBytes(live.server) === 10_000);
      setDeaf(live.client);
      live.toClient.write(live.server, 10_000);
      const state = capture(live.server, { freeze: true });
      assert.equal(state.sendSequence, add(10_000, -before));
      assert.equal(state.receiveSequence, add(10_000, -before));
      silentClose(live.server);
      setHearing(live.client);
      ignoreResets(live.client);
      live.server = restore(decodeState(encodeState(state)));
      await finish(live);
    }
  });

  test(`${address}: ${MOVES} moves in a row while bytes flow`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    const random = new Random(12_345);
    const seen = { receive: 0, send: 0 };
    for (let i = 0; i < MOVES; i++) {
      live.toClient.write(live.server, 1 + random.below(30_000));
      const toServer = live.toServer.write(live.client, 1 + random.below(5000));
      await until(() => toServer === 0 || sockets.receiveQueueBytes(live.server) > 0);
      live.toClient.read(live.client, 1 + random.below(40_000));
      live.toServer.read(live.server, 1 + random.below(6000));
      const state = move(live);
      seen.receive += state.receiveQueue.length > 0 ? 1 : 0;
      seen.send += state.sendQueue.length + state.unsentQueue.length > 0 ? 1 : 0;
    }
    assert.ok(seen.receive > MOVES / 10, `${seen.receive} moves with unread data`);
    assert.ok(seen.send > 0, `${seen.send} moves with unacknowledged data`);
    await live.toClient.drain(live.client);
    await live.toServer.drain(live.server);
    assert.ok(live.toClient.verified > 1_000_000);
    await finish(live);
  });

  test(`${address}: a move at every ${STEP_BYTES}th byte of ${RESPONSE_BYTES}, up and down`, {
    skip,
  }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    const { receiveWindow } = capture(live.server).window;
    let state: ConnectionState | undefined;
    for (let moves = 0; moves < RESPONSE_BYTES / STEP_BYTES; moves++) {
      for (const [stream, from, to] of [
        [live.toClient, live.server, live.client],
        [live.toServer, live.client, live.server],
      ] as const) {
        assert.equal(stream.write(from, STEP_BYTES), STEP_BYTES);
        await until(() => stream.verified + sockets.receiveQueueBytes(to) === stream.written);
        // Now and then both sides lag behind, so that the queues travel.
        if (moves % 50 >= 20) stream.read(to);
      }
      state = move(live);
    }
    assert.ok(state!.window.receiveWindow < 2 * receiveWindow, 'the window does not grow with every move');
    await live.toClient.drain(live.client);
    await live.toServer.drain(live.server);
    for (const { verified } of [live.toClient, live.toServer]) assert.equal(verified, RESPONSE_BYTES);
    await finish(live);
  });
}

test('a full send queue does not grow with every move', { skip }, async () => {
  const live = connected('127.0.0.1');
  ignoreResets(live.client);
  sockets.setOption(live.server, sockets.SOL_SOCKET, SO_SNDBUF, 128 * 1024);
  const queued: number[] = [];
  for (let moves = 0; moves < 10; moves++) {
    while (live.toClient.write(live.server, 65_536) === 65_536);
    const { sendQueue, unsentQueue } = move(live);
    queued.push(sendQueue.length + unsentQueue.length);
  }
  assert.ok(queued[0] > 100_000 && queued[9] < 2 * queued[0], `${queued}`);
  await live.toClient.drain(live.client);
  await finish(live);
});

test('what cannot travel is refused and left alone', { skip }, async () => {
  const live = connected('127.0.0.1');
  const unconnected = sockets.tcpSocket(sockets.localEndpoint(live.server).address);
  assert.throws(() => capture(unconnected), { name: 'StateError', code: 'STATE_NOT_CAPTURABLE' });
  const state = capture(live.server);
  assert.throws(() => restore(state), { name: 'SystemError', code: 'EADDRNOTAVAIL' });
  assert.throws(() => restore({ ...state, mss: 0 }), { name: 'StateError', code: 'STATE_MSS' });
  libc.close(unconnected);
  await finish(live);
});

test('a larger edge, advertised earlier, is kept', { skip }, () => {
  const live = connected('127.0.0.1');
  ignoreResets(live.client);
  const now = capture(live.server);
  const edge = add(now.advertisedEdge, 4096);
  const state = capture(live.server, { freeze: true, advertisedEdge: edge });
  assert.equal(state.advertisedEdge, edge);
  silentClose(live.server);
  live.server = restore(state);
  assert.equal(capture(live.server).advertisedEdge, edge);
  libc.close(live.server);
  libc.close(live.client);
});
