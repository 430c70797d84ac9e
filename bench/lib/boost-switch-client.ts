/**
 * The client of the benchmark boost-switch, run in a lab's client as `node boost-switch-client.js ADDRESS COUNT`. For
 * each line that it reads: opens COUNT connections one after the other and keeps them; with the last of them the server
 * has too many. From then on it opens one every millisecond until an answer says that a booster has it. It prints a
 * Round as JSON, and closes all.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

export interface Round {
  /** From the last of the connections accepted to the first SYN that a booster got. */
  readonly ms: number;
  /** Connections that were refused, reset, or not answered with 200. */
  readonly lost: number;
  readonly opened: number;
}

const PROBE_MS = 1;
const MAX_PROBES = 2000;

const [address, count] = [process.argv[2], Number(process.argv[3])];

/** One connection and its first answer; null: it was lost. The connection stays. */
function ask(sockets: Socket[]): Promise<string | null> {
  return new Promise((resolve) => {
    let head = '';
    const socket = connect(80, address, () => socket.write('GET /1k.bin HTTP/1.1\r\nHost: h\r\n\r\n'));
    sockets.push(socket);
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      head += text;
      if (head.includes('\r\n\r\n')) resolve(head.startsWith('HTTP/1.1 200') ? head : null);
    });
    socket.on('error', () => resolve(null));
    socket.on('close', () => resolve(null));
  });
}

async function round(): Promise<Round> {
  const sockets: Socket[] = [];
  let lost = 0;
  for (let i = 0; i < count; i++) if ((await ask(sockets)) === null) lost++;
  const crossedMs = performance.now();
  const answers: Array<Promise<unknown>> = [];
  let firstMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < MAX_PROBES && firstMs === Number.POSITIVE_INFINITY; i++) {
    const openedMs = performance.now();
    const answer = ask(sockets).then((head) => {
      if (head === null) lost++;
      else if (head.includes('desc=boost')) firstMs = Math.min(firstMs, openedMs);
    });
    answers.push(answer);
    await delay(PROBE_MS);
  }
  await Promise.all(answers);
  for (const socket of sockets) socket.destroy();
  return { ms: firstMs - crossedMs, lost, opened: sockets.length };
}

for await (const _ of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await round())}\n`);
