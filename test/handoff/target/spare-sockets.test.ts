import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { MAX_SPARE_SOCKETS, SpareSockets } from '../../../src/handoff/target/spare-sockets.ts';
import { type HalfPipeSeed, lastRestored, restoreHalfPipe } from '../../../src/kernel/linux/half-pipe.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { closeRawSockets } from '../../../src/kernel/linux/raw.ts';
import { silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import { HALF_PIPE_KERNEL } from '../../../src/node/engine/half-pipe-kernel.ts';
import { facingSeeds } from '../../kernel/tcp/live.ts';
import { privateNetwork, skipWithoutRoot } from '../../kernel/tcp/network.ts';

const skip = skipWithoutRoot();
before(() => {
  if (skip === false) privateNetwork();
});
after(closeRawSockets);

function seed(address: string, clientPort: number): HalfPipeSeed {
  const { server } = facingSeeds(address, 80, 1, 2);
  return { ...server, client: { ...server.client, port: clientPort } };
}

test('a spare is for its own public endpoint', { skip }, () => {
  const spares = new SpareSockets(HALF_PIPE_KERNEL);
  const [here, there] = [seed('127.0.0.1', 22_000), seed('::1', 22_000)];
  const elsewhere = { address: here.public.address, port: 81 };
  const fd = restoreHalfPipe(here);
  spares.keep(fd, here.public);
  assert.deepEqual([spares.take(there.public), spares.take(elsewhere)], [-1, -1]);
  assert.equal(spares.take({ address: Buffer.from(here.public.address), port: 80 }), fd);
  assert.equal(spares.take(here.public), -1);
  assert.equal(restoreHalfPipe(seed('127.0.0.1', 22_001), fd), fd);
  assert.equal(lastRestored.wasSpare, true);
  silentClose(fd);
});

test('a hundred half-pipes, one after the other, are one socket', { skip }, () => {
  const spares = new SpareSockets(HALF_PIPE_KERNEL);
  const seen = new Set<number>();
  for (let i = 0; i < 100; i++) {
    const next = seed('127.0.0.1', 22_100 + (i % 2));
    const fd = restoreHalfPipe(next, spares.take(next.public));
    seen.add(fd);
    spares.keep(fd, next.public);
  }
  assert.equal(seen.size, 1);
  spares.close();
});

test('what is not needed for a second is closed, and what is too much at once', { skip }, () => {
  const spares = new SpareSockets(HALF_PIPE_KERNEL);
  const seeds = Array.from({ length: MAX_SPARE_SOCKETS + 3 }, (_, i) => seed('127.0.0.1', 23_000 + i));
  const pub = seeds[0].public;
  const fds = seeds.map((each) => restoreHalfPipe(each));
  for (const fd of fds) spares.keep(fd, pub);
  assert.deepEqual(
    fds.slice(-3).map((fd) => libc.close(fd)),
    [-1, -1, -1],
    'closed already',
  );
  const used = () => {
    const taken = [spares.take(pub), spares.take(pub)];
    assert.ok(!taken.includes(-1));
    for (const fd of taken) spares.keep(restoreHalfPipe(seed('127.0.0.1', 24_000), fd), pub);
  };
  spares.tick(10_000);
  used();
  spares.tick(10_999);
  used();
  spares.tick(11_000);
  assert.equal(libc.close(fds[0]), -1, 'the oldest is gone');
  used();
  spares.tick(12_000);
  spares.tick(13_000);
  assert.equal(spares.take(pub), -1);
});
