/**
 * Processor time of a response whose head and body are in memory, by the form in which the kernel gets it. Run as
 * `node dist/bench/micro/response-forms.js`; needs wrk.
 *
 *   one send       head and body in one buffer
 *   two sends      the head (MSG_MORE), then the body
 *   sendfile       the head, then the body from a file in memory (tmpfs, as a memfd is)
 *   zero copy      head and body in one buffer whose pages the kernel takes as they are (MSG_ZEROCOPY), and its word that
 *                  it has done with them. Over loopback, and over veth, it copies them where they arrive.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import * as libc from '../../src/kernel/linux/libc.ts';
import { allocate, type Memory } from '../../src/kernel/linux/memory.ts';
import {
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_NOSIGNAL,
  SOL_SOCKET,
  setOption,
} from '../../src/kernel/linux/socket.ts';
import { median } from '../lib/rounds.ts';

const SIZES = [1024, 10_240, 102_400];
const ROUNDS = 5;
const SECONDS = 1;
const REQUEST_BYTES = 4096;
const SO_ZEROCOPY = 60;
const MSG_ZEROCOPY = 0x4000000;
const MSG_ERRQUEUE = 0x2000;

type Form = (fd: number) => void;

const request = allocate(REQUEST_BYTES);
const fileOffset = allocate(8);
const offsetWords = new Uint32Array(fileOffset.bytes.buffer);

function sendAll(fd: number, bytes: Buffer, flags: number): void {
  for (let at = 0; at < bytes.length; )
    at += libc.sendBytes(fd, bytes.subarray(at), bytes.length - at, flags | MSG_NOSIGNAL);
}

function sendPages(fd: number, { address, bytes }: Memory): void {
  for (let at = 0; at < bytes.length; )
    at += libc.send(fd, address + at, bytes.length - at, MSG_ZEROCOPY | MSG_NOSIGNAL);
  // Words about several sends come as one.
  libc.recv(fd, request.address, REQUEST_BYTES, MSG_ERRQUEUE | MSG_DONTWAIT);
}

function forms(head: Buffer, body: Buffer, file: number): ReadonlyMap<string, Form> {
  const whole = Buffer.concat([head, body]);
  const pages = allocate(whole.length);
  pages.bytes.set(whole);
  return new Map<string, Form>([
    ['one send', (fd) => sendAll(fd, whole, 0)],
    [
      'two sends',
      (fd) => {
        sendAll(fd, head, MSG_MORE);
        sendAll(fd, body, 0);
      },
    ],
    [
      'sendfile',
      (fd) => {
        sendAll(fd, head, MSG_MORE);
        for (let at = 0; at < body.length; ) {
          offsetWords[0] = at;
          at += libc.sendfile(fd, file, fileOffset.address, body.length - at);
        }
      },
    ],
    ['zero copy', (fd) => sendPages(fd, pages)],
  ]);
}

/** Answers one connection of wrk, blocking, until it ends. Microseconds of processor time a response. */
async function measure(send: Form): Promise<number> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const wrk = spawn('wrk', ['-t1', '-c1', `-d${SECONDS}s`, `http://127.0.0.1:${port}/`], { stdio: 'ignore' });
  for (;;) {
    const [socket] = (await once(server, 'connection')) as [Socket];
    const { _handle: handle } = socket as unknown as {
      _handle: { fd: number; setBlocking(on: boolean): void };
    };
    handle.setBlocking(true);
    setOption(handle.fd, SOL_SOCKET, SO_ZEROCOPY, 1);
    const before = process.cpuUsage();
    let responses = 0;
    for (; libc.recv(handle.fd, request.address, REQUEST_BYTES, 0) > 0; responses++) send(handle.fd);
    const { user, system } = process.cpuUsage(before);
    socket.destroy();
    // wrk tries the address before it begins.
    if (responses === 0) continue;
    server.close();
    if (wrk.exitCode === null) await once(wrk, 'exit');
    return (user + system) / responses;
  }
}

const directory = mkdtempSync('/dev/shm/baton-forms-');
try {
  for (const size of SIZES) {
    const body = Buffer.alloc(size, 'x');
    const fields = `Content-Length: ${size}\r\nCache-Control: max-age=3600\r\nAge: 7`;
    const head = Buffer.from(`HTTP/1.1 200 OK\r\nDate: ${new Date().toUTCString()}\r\n${fields}\r\n\r\n`);
    const path = join(directory, String(size));
    writeFileSync(path, body);
    const file = openSync(path, 'r');
    const all = [...forms(head, body, file)];
    const found = all.map((): number[] => []);
    for (let round = 0; round < ROUNDS; round++)
      for (const [i, [, form]] of all.entries()) found[i].push(await measure(form));
    for (const [i, [name]] of all.entries())
      console.log(`${size} bytes, ${name}: ${median(found[i]).toFixed(2)} us`);
    closeSync(file);
  }
} finally {
  rmSync(directory, { recursive: true });
}
