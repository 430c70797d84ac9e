import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AccessBatch } from '../../../src/client/access-batch.ts';
import { AccessLog } from '../../../src/node/admin/log.ts';
import { batchOf, record } from './stand.ts';

const directory = mkdtempSync(join(tmpdir(), 'baton-log-'));
after(() => rmSync(directory, { recursive: true }));

const LINE_FEED = 10;
const unexpected = (error: Error) => assert.fail(error);
const parse = (content: string): Array<Record<string, unknown>> => {
  assert.ok(content === '' || content.endsWith('\n'));
  return content
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
};
/** Whole lines: the last one may be half written while the log writes. */
const linesOf = (content: Buffer) => content.filter((byte) => byte === 0x0a).length;
const numbers = (content: string) => parse(content).map(({ bytes }) => bytes);
const batch = (from: number, to: number): AccessBatch =>
  batchOf(Array.from({ length: to - from }, (_, i) => record({ bytes: from + i })));

describe('AccessLog', () => {
  it('appends to a file, in order', async () => {
    const path = join(directory, 'append.log');
    for (const from of [0, 1000]) {
      const log = new AccessLog({ destination: path, onError: unexpected });
      for (let at = from; at < from + 1000; at += 50) log.write(batch(at, at + 50));
      await log.close();
      assert.equal(log.droppedLines, 0);
    }
    assert.deepEqual(
      numbers(readFileSync(path, 'utf8')),
      Array.from({ length: 2000 }, (_, i) => i),
    );
  });

  it('is off when it is off', async () => {
    const log = new AccessLog({ destination: null, onError: unexpected });
    log.write(batch(0, 10));
    await log.close();
    assert.equal(log.droppedLines, 0);
  });

  it('opens its file again at SIGHUP and loses nothing', async () => {
    const path = join(directory, 'rotated.log');
    const log = new AccessLog({ destination: path, onError: unexpected });
    const listeners = process.listenerCount('SIGHUP');
    log.write(batch(0, 5000));
    // What is still to be written when the file is opened again goes to the new one.
    while (linesOf(readFileSync(path)) < 5000) await sleep(1);
    renameSync(path, `${path}.1`);
    process.kill(process.pid, 'SIGHUP');
    while (!existsSync(path)) await sleep(1);
    log.write(batch(5000, 6000));
    await log.close();
    assert.equal(process.listenerCount('SIGHUP'), listeners - 1);
    const old = numbers(readFileSync(`${path}.1`, 'utf8'));
    const fresh = numbers(readFileSync(path, 'utf8'));
    assert.equal(old.length, 5000);
    assert.deepEqual(
      [...old, ...fresh],
      Array.from({ length: 6000 }, (_, i) => i),
    );
  });

  it('drops and counts when its reader is slow, and goes on when it reads again', {
    timeout: 60_000,
  }, async () => {
    const path = join(directory, 'fifo');
    execFileSync('mkfifo', [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const log = new AccessLog({ destination: path, onError: unexpected });
    const total = 60_000;
    for (let at = 0; at < total; at += 500) {
      log.write(batch(at, at + 500));
      await new Promise(setImmediate);
    }
    const dropped = log.droppedLines;
    assert.ok(dropped > 0 && dropped < total, `${dropped} dropped`);
    // Before it is closed, which waits for a second and no longer.
    const chunks: Buffer[] = [];
    const buffer = Buffer.alloc(65536);
    for (let lines = 0; lines + dropped < total; await new Promise(setImmediate)) {
      const chunk = Buffer.from(buffer.subarray(0, readOrNothing(reader, buffer)));
      lines += chunk.filter((byte) => byte === LINE_FEED).length;
      chunks.push(chunk);
    }
    await log.close();
    assert.equal(readOrNothing(reader, buffer), 0);
    closeSync(reader);
    const read = numbers(Buffer.concat(chunks).toString());
    assert.equal(log.droppedLines, dropped);
    assert.equal(read.length + dropped, total);
    assert.deepEqual(
      read,
      Array.from({ length: read.length }, (_, i) => i),
    );
  });

  it('counts what a full device refuses and says so once', async () => {
    const errors: NodeJS.ErrnoException[] = [];
    const log = new AccessLog({ destination: '/dev/full', onError: (error) => errors.push(error) });
    log.write(batch(0, 500));
    while (log.droppedLines < 500) await sleep(1);
    log.write(batch(500, 600));
    await log.close();
    assert.equal(log.droppedLines, 600);
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['ENOSPC'],
    );
  });

  it('ends a torn line before the next: of a disk that was full, and of a process before', async () => {
    const limited = join(directory, 'torn');
    const script = fileURLToPath(new URL('./torn-process.js', import.meta.url));
    // A limit on the file's size is like a full disk: what fits is written, and then nothing, until it is lifted.
    const { status, stderr } = spawnSync(process.execPath, [script, limited], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const lines = readFileSync(limited, 'utf8').split('\n');
    assert.equal(lines.pop(), '');
    const torn = lines.filter((line) => !line.endsWith('}'));
    assert.equal(torn.length, 1, 'the one that the limit cut');
    const whole = lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line).bytes);
    assert.deepEqual(whole.slice(-3), [1000, 1001, 1002]);

    const path = join(directory, 'left.log');
    writeFileSync(path, '{"half');
    const log = new AccessLog({ destination: path, onError: unexpected });
    log.write(batch(0, 2));
    await log.close();
    const [first, ...rest] = readFileSync(path, 'utf8').split('\n');
    assert.equal(first, '{"half');
    assert.deepEqual(numbers(rest.join('\n')), [0, 1]);
  });

  it('says what to check when its file cannot be opened', () => {
    const destination = join(directory, 'missing', 'access.log');
    const expected = { code: 'LOG_FILE', message: /ENOENT.*check observe\.accessLog/ };
    assert.throws(() => new AccessLog({ destination, onError: unexpected }), expected);
  });
});

describe('logs of a process', () => {
  const script = fileURLToPath(new URL('./log-process.js', import.meta.url));

  it('go to standard output and standard error', async () => {
    const child = spawn(process.execPath, [script, '2000'], { stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    assert.equal(numbers(out).length, 2000);
    const lines = parse(err);
    assert.equal(lines.length, 1);
    const { level, node, pid, peer, msg, dropped, time } = lines[0]!;
    assert.deepEqual(
      { level, node, pid, peer, msg, dropped },
      { level: 'info', node: 'a', pid: child.pid, peer: 'b', msg: 'closed', dropped: 0 },
    );
    for (const key of ['node', 'pid']) assert.equal(err.split(`"${key}":`).length, 2, `${key} once`);
    assert.ok(Math.abs(Date.parse(time as string) - Date.now()) < 60_000);
  });

  // Node gives a child a socket, a shell gives it a pipe.
  for (const [kind, command, args] of [
    ['socket', process.execPath, [script, '50000']],
    ['pipe', 'sh', ['-c', '{ "$0" "$1" 50000; echo "exit $?" >&2; } | sleep 60', process.execPath, script]],
  ] as const) {
    it(`do not keep the process when nobody reads standard output (a ${kind})`, async () => {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
      const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), 10_000);
      const exited = once(child, 'exit');
      const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
      try {
        const { value } = await lines.next();
        assert.ok(JSON.parse(value).dropped > 0, value);
        if (kind === 'pipe') assert.equal((await lines.next()).value, 'exit 0');
        else assert.deepEqual(await exited, [0, null]);
      } finally {
        clearTimeout(timer);
        if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL');
      }
    });
  }
});

/** Bytes read; 0 when there are none now. */
function readOrNothing(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}
