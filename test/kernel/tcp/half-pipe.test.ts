import assert from 'node:assert';
import { once } from 'node:events';
import { release } from 'node:os';
import { after, before, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { parseAddress } from '../../../src/base/address.ts';
import { setDeaf, setHearing } from '../../../src/kernel/linux/deaf.ts';
import {
  disconnectSilently,
  lastRestored,
  refreshSendWindow,
  restoreHalfPipe,
} from '../../../src/kernel/linux/half-pipe.ts';
import { captureHalfPipe } from '../../../src/kernel/linux/half-pipe-capture.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { monotonicMs } from '../../../src/kernel/linux/monotonic.ts';
import { closeRawSockets } from '../../../src/kernel/linux/raw.ts';
import { lastInfo, readInfo, TcpState, timestampClock } from '../../../src/kernel/linux/repair-options.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import { add, distance } from '../../../src/kernel/tcp/sequence.ts';
import { connected, facing, facingSeeds, ignoreResets, RAMP_PERIOD, Stream, until } from './live.ts';
import { privateNetwork, run, skipWithoutRoot } from './network.ts';

const SO_MARK = 36;
const MARK = 0x62;
const skip = skipWithoutRoot();

const TCP_RTO_MAX_MS = 44;
const READ_FOR_MS = 1000;
const CAPTURES = 1000;
/** Of a clock of ms, and of an RTT and what follows from it. */
const MEASURED_WITHIN_US = 10_000;

/** Linux has TCP_RTO_MAX_MS since 6.15. */
function hasTimeoutLimit(): boolean {
  const [major, minor] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 15);
}

before(() => {
  if (skip === false) privateNetwork();
});
after(closeRawSockets);

for (const address of ['127.0.0.1', '::1']) {
  test(`${address}: a captured out-half goes on in another socket`, { skip }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    live.toServer.write(live.client, 700);
    live.toClient.write(live.server, 900);
    await live.toServer.drain(live.server);
    await live.toClient.drain(live.client);
    await until(() => sockets.sendQueueBytes(live.server) === 0);
    const first = captureHalfPipe(live.server);
    const p = captureHalfPipe(live.server, first);
    assert.equal(p.clockOffset, first.clockOffset);
    assert.deepEqual([p.client, p.public, p.mss], [first.client, first.public, first.mss]);
    assert.deepEqual(p.public, sockets.localEndpoint(live.server));
    assert.deepEqual(p.client, sockets.remoteEndpoint(live.server));
    silentClose(live.server);
    const tsval = (monotonicMs() + p.clockOffset) >>> 0;
    live.server = restoreHalfPipe({
      ...p,
      mark: MARK,
      options: p,
      sequence: p.writeSequence,
      acknowledge: p.receiveSequence,
      tsval,
    });
    assert.equal(sockets.getOption(live.server, sockets.SOL_SOCKET, SO_MARK), MARK);
    live.toClient.write(live.server, 50_000);
    live.toServer.write(live.client, 5000);
    await live.toClient.drain(live.client);
    await live.toServer.drain(live.server);
    readInfo(live.client);
    assert.equal(lastInfo.totalRetransmissions(), 0);
    libc.close(live.server);
    libc.close(live.client);
  });

  test(`${address}: sequence numbers across 2^32`, { skip }, async () => {
    const live = facing(address, 21_000, 0xffff_fff0, 0xffff_ff00);
    const at = captureHalfPipe(live.server);
    assert.equal(at.writeSequence, 0xffff_fff0);
    assert.equal(at.receiveSequence, 0xffff_ff00);
    assert.ok(live.toClient.write(live.server, 100_000) > 16);
    live.toServer.write(live.client, 10_000);
    await live.toClient.drain(live.client);
    await live.toServer.drain(live.server);
    await until(() => sockets.sendQueueBytes(live.server) === 0);
    const end = captureHalfPipe(live.server, at);
    assert.equal(end.writeSequence, add(0xffff_fff0, live.toClient.written));
    assert.equal(end.receiveSequence, add(0xffff_ff00, 10_000));
    libc.close(live.server);
    libc.close(live.client);
  });

  test(`${address}: the RTT and with it the first timeout are given`, { skip }, async () => {
    for (const srttUs of [1000, 20_000, 150_000]) {
      const seeds = facingSeeds(address, 21_100, 0, 1, { srttUs, sendWindow: 40_000 });
      const server = restoreHalfPipe(seeds.server);
      readInfo(server);
      const srtt = lastInfo.srttUs();
      assert.ok(srtt >= srttUs && srtt <= srttUs + 3000, `srtt ${srtt} for ${srttUs}`);
      const timeout = lastInfo.retransmitTimeoutUs();
      assert.ok(timeout <= 3 * srttUs + 230_000, `timeout ${timeout} us for an RTT of ${srttUs} us`);
      assert.equal(lastInfo.sendWindow(), 40_000);
      assert.equal(sockets.sendQueueBytes(server), 0);
      assert.equal(captureHalfPipe(server).writeSequence, 0, 'the byte that stands for the RTT is behind us');
      const client = restoreHalfPipe(seeds.client);
      const stream = new Stream();
      stream.write(server, 30_000);
      await stream.drain(client);
      silentClose(server);
      silentClose(client);
    }
  });

  test(`${address}: without timestamps, an RTT or a window there is no RTT, and data flows`, {
    skip,
  }, async () => {
    const plain = { sack: true, timestamps: false, sendScale: 8, receiveScale: 8 };
    for (const change of [
      { srttUs: 0 },
      { srttUs: 5000, options: plain },
      { srttUs: 5000, sendWindow: 255 },
    ]) {
      const seeds = facingSeeds(address, 21_200, 77, 99, change);
      const server = restoreHalfPipe(seeds.server);
      readInfo(server);
      assert.equal(lastInfo.srttUs(), 0);
      const client = restoreHalfPipe(seeds.client);
      const stream = new Stream();
      stream.write(server, 200);
      await stream.drain(client);
      silentClose(server);
      silentClose(client);
    }
  });

  test(`${address}: a send window of nothing holds, a refreshed one lets go`, { skip }, async () => {
    const seeds = facingSeeds(address, 21_300, 5, 6, { sendWindow: 0 });
    const server = restoreHalfPipe(seeds.server);
    const client = restoreHalfPipe(seeds.client);
    const stream = new Stream();
    stream.write(server, 3000);
    assert.equal(sockets.unsentBytes(server), 3000);
    setDeaf(client);
    refreshSendWindow(server, () => 2000);
    assert.equal(sockets.unsentBytes(server), 1000);
    setHearing(client);
    assert.equal(captureHalfPipe(server).maxWindow, 65_536);
    refreshSendWindow(server, () => 100_000);
    await stream.drain(client);
    silentClose(server);
    silentClose(client);
  });

  test(`${address}: a target advertises what the anchor advertised`, { skip }, async () => {
    for (const receiveWindow of [4096, 16_384, 65_536, 1 << 20]) {
      const seeds = facingSeeds(address, 21_400, 5, 6);
      const server = restoreHalfPipe({ ...seeds.server, receiveWindow });
      const client = restoreHalfPipe({ ...seeds.client, sendWindow: 0, maxWindow: 1 << 20 });
      const stream = new Stream();
      stream.write(server, 100);
      await stream.drain(client);
      readInfo(client);
      assert.equal(lastInfo.sendWindow(), receiveWindow);
      silentClose(server);
      silentClose(client);
    }
  });
}

/** What the kernel tells of a half-pipe that has sent nothing yet, and of its path: measured in whole ms. */
function described(fd: number): { exact: object; measuredUs: number[] } {
  // The capture sets the clock: before it, it is still what was restored.
  const clockMs = timestampClock(fd);
  const { client: _, clockOffset, tsval, srttUs, timestamps, ...exact } = captureHalfPipe(fd);
  readInfo(fd);
  const retransmissions = lastInfo.totalRetransmissions();
  return {
    exact: { ...exact, timestamps, sendMss: lastInfo.sendMss(), retransmissions },
    measuredUs: [srttUs, lastInfo.retransmitTimeoutUs(), timestamps ? 1000 * clockMs : 0],
  };
}

/** Reads from a port of this machine to the end, on another thread, so that it acknowledges at any moment. */
const READER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const socket = require('node:net').connect(workerData, '127.0.0.1');
  let bytes = 0;
  socket.on('data', (chunk) => {
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] !== (bytes + i) % ${RAMP_PERIOD}) throw new Error('wrong byte ' + (bytes + i));
    }
    bytes += chunk.length;
  });
  socket.on('end', () => parentPort.postMessage(bytes));
`;

test('captured over and over while a client with a small window reads: nothing is sent twice', {
  skip,
}, async () => {
  const rmem = run('sysctl', '-n', 'net.ipv4.tcp_rmem').trim();
  // Without tail loss probes: a reader that is not scheduled for some ms is no loss.
  run('sysctl', '-qw', 'net.ipv4.tcp_rmem=4096 16384 16384', 'net.ipv4.tcp_early_retrans=0');
  const listener = sockets.listenOn({ address: parseAddress('127.0.0.1'), port: 0 }, 1);
  const reader = new Worker(READER, { eval: true, workerData: sockets.localEndpoint(listener).port });
  const ended = once(reader, 'message');
  let server = -1;
  await until(() => {
    server = sockets.acceptFrom(listener);
    return server >= 0;
  });
  libc.close(listener);
  const stream = new Stream();
  const first = captureHalfPipe(server);
  let heldBack = 0;
  const deadline = performance.now() + READ_FOR_MS;
  while (performance.now() < deadline) {
    stream.write(server, 100_000);
    if (sockets.unsentBytes(server) > 0) heldBack++;
    const { writeSequence } = captureHalfPipe(server, first);
    assert.equal(distance(first.writeSequence, writeSequence), stream.written);
  }
  assert.ok(heldBack > CAPTURES, `only ${heldBack} captures of a socket that held something back`);
  await until(() => sockets.sendQueueBytes(server) === 0);
  readInfo(server);
  const retransmissions = lastInfo.totalRetransmissions();
  libc.close(server);
  assert.deepEqual(await ended, [stream.written]);
  assert.equal(retransmissions, 0);
  run('sysctl', '-qw', `net.ipv4.tcp_rmem=${rmem}`, 'net.ipv4.tcp_early_retrans=3');
});

test('without timestamps a known RTT limits the timeout', {
  skip: skip || !hasTimeoutLimit(),
}, () => {
  const options = { sack: true, timestamps: false, sendScale: 8, receiveScale: 8 };
  for (const [srttUs, limitMs] of [
    [0, 120_000],
    [50_000, 1000],
    [700_000, 2100],
  ]) {
    const server = restoreHalfPipe(facingSeeds('127.0.0.1', 21_700, 5, 6, { options, srttUs }).server);
    assert.equal(sockets.getOption(server, sockets.IPPROTO_TCP, TCP_RTO_MAX_MS), limitMs);
    silentClose(server);
  }
});

test('the clock offset is exact, and later values need no system call', { skip }, async () => {
  const live = connected('127.0.0.1');
  const { clockOffset } = captureHalfPipe(live.server);
  let compared = 0;
  await until(() => {
    const earliest = monotonicMs();
    const kernel = timestampClock(live.server);
    if (monotonicMs() !== earliest) return false;
    const ours = (earliest + clockOffset) >>> 0;
    assert.equal(kernel, ours - (ours % 2));
    compared++;
    return compared === 50;
  });
  libc.close(live.server);
  libc.close(live.client);
});

test('a restored clock is never behind the seed, and never more than 1 ms ahead', { skip }, () => {
  for (const tsval of [0, 1, 2, 999_999, 0xffff_fffe, 0xffff_ffff]) {
    const seeds = facingSeeds('127.0.0.1', 21_500, 5, 6, { tsval });
    const start = monotonicMs();
    const server = restoreHalfPipe(seeds.server);
    const ahead = distance(tsval, timestampClock(server));
    const elapsed = monotonicMs() - start;
    assert.ok(ahead >= 0 && ahead <= elapsed + 1, `${ahead} ms ahead after ${elapsed} ms`);
    silentClose(server);
  }
});

test('a connection this machine has already is refused', { skip }, () => {
  const seeds = facingSeeds('127.0.0.1', 21_600, 5, 6, { srttUs: 5000 });
  const server = restoreHalfPipe(seeds.server);
  assert.throws(() => restoreHalfPipe(seeds.server), { name: 'SystemError', code: 'EADDRNOTAVAIL' });
  silentClose(server);
});

for (const address of ['127.0.0.1', '::1']) {
  test(`${address}: a socket that was another half-pipe's is as good as a new one`, { skip }, async () => {
    const plain = { sack: false, timestamps: false, sendScale: -1, receiveScale: -1 };
    let fd = -1;
    // Nothing of a connection before may be seen in the next: its window, its options, its RTT, its clock, its bytes.
    for (const change of [
      { srttUs: 150_000, sendWindow: 3000, tsval: 0xffff_0000 },
      { srttUs: 0, options: plain, sendWindow: 60_000, maxWindow: 60_000 },
      { srttUs: 20_000, sendWindow: 65_536, tsval: 8 },
    ]) {
      const seeds = facingSeeds(address, 21_800, 0xffff_ff00, 77, change);
      const fresh = restoreHalfPipe({ ...seeds.server, client: { ...seeds.server.client, port: 21_799 } });
      const spare = fd;
      fd = restoreHalfPipe(seeds.server, spare);
      assert.equal(lastRestored.wasSpare, spare >= 0);
      assert.ok(spare < 0 || fd === spare);
      const [used, anew] = [described(fd), described(fresh)];
      assert.deepEqual(used.exact, anew.exact);
      for (const [i, us] of used.measuredUs.entries())
        assert.ok(Math.abs(us - anew.measuredUs[i]) <= MEASURED_WITHIN_US, `${used.measuredUs} us`);
      silentClose(fresh);
      assert.equal(sockets.pendingError(fd), 0);
      const client = restoreHalfPipe(seeds.client);
      const stream = new Stream();
      stream.write(fd, 2000);
      await stream.drain(client);
      // What is not acknowledged, or not even sent, goes with the connection; the client hears nothing of its end.
      setDeaf(client);
      stream.write(fd, 200_000);
      assert.ok(sockets.sendQueueBytes(fd) > 0);
      disconnectSilently(fd);
      setHearing(client);
      readInfo(client);
      assert.equal(lastInfo.state(), TcpState.ESTABLISHED);
      assert.equal(sockets.pendingError(client), 0);
      silentClose(client);
    }
    libc.close(fd);
  });
}

test('a spare socket is gone when it cannot be used', { skip }, () => {
  const seeds = facingSeeds('127.0.0.1', 21_900, 5, 6);
  const spare = restoreHalfPipe(seeds.server);
  disconnectSilently(spare);
  const taken = restoreHalfPipe(seeds.server);
  assert.throws(() => restoreHalfPipe(seeds.server, spare), { code: 'EADDRNOTAVAIL' });
  assert.equal(libc.close(spare), -1);
  silentClose(taken);
});
