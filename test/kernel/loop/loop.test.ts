/** The event loop's own promises. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPOLLET, EPOLLIN } from '../../../src/kernel/linux/epoll.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { Loop } from '../../../src/kernel/loop/loop.ts';

test('an event of a descriptor that was closed in the same turn is not told to the next one of that number', () => {
  const loop = new Loop();
  const fds = [libc.eventfd(1, 0), libc.eventfd(1, 0)];
  const called: string[] = [];
  let next = -1;
  for (const [i, fd] of fds.entries()) {
    loop.add(fd, EPOLLIN | EPOLLET, {
      ready: () => {
        called.push('first');
        const other = fds[1 - i];
        loop.forget(other);
        libc.close(other);
        next = libc.eventfd(0, 0);
        assert.equal(next, other, 'the kernel gives the lowest number that is free');
        loop.add(next, EPOLLIN | EPOLLET, { ready: () => called.push('stale') });
        fds[1 - i] = -1;
      },
    });
  }
  let turns = 0;
  loop.run(
    () => undefined,
    () => {
      if (++turns === 2) loop.stop();
      return 0;
    },
  );
  assert.deepEqual(called, ['first']);
  for (const fd of [...fds, next]) if (fd >= 0) libc.close(fd);
});

test('an engine that spins sleeps afterwards, and its load does not count the looking', () => {
  const spinUs = 5000;
  const loop = new Loop(spinUs);
  const fd = libc.eventfd(1, 0);
  let heard = 0;
  loop.add(fd, EPOLLIN | EPOLLET, { ready: () => heard++ });
  let turns = 0;
  const beganMs = performance.now();
  const cpuMs = loop.cpuMs;
  loop.run(
    () => undefined,
    () => {
      if (++turns === 4) loop.stop();
      return 20;
    },
  );
  // Two waits of 20 ms each, of which 5 ms were spent looking.
  assert.ok(performance.now() - beganMs >= 40);
  assert.ok(loop.cpuMs - cpuMs < (2 * spinUs) / 1000, `${loop.cpuMs - cpuMs} ms`);
  assert.equal(heard, 1);
  libc.close(fd);
});
