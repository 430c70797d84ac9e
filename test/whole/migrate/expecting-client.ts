/**
 * A client in front of a full send queue, run in a lab's client namespace as `node expecting-client.js JOB`. It makes
 * the server's buffer large by one download, leaves another one in it unread, and then says `Expect: 100-continue`. It
 * reads on only then, and prints an ExpectReport as JSON.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ramp } from '../../../src/tools/lab/ramp.ts';

export interface ExpectJob {
  readonly address: string;
  /** Hosts of the downloads, and of the request that expects. */
  readonly hosts: readonly [string, string];
  /** Sizes of the two downloads. */
  readonly sizes: readonly [number, number];
  readonly path: string;
  /** How fast the first half of the second download is read, in bytes a second; default: as it comes. */
  readonly bytesPerSecond?: number;
  /** Of the body that is announced. */
  readonly bodyBytes: number;
}

export interface ExpectReport {
  /** Status of every answer, interim ones as well. */
  readonly statuses: number[];
  readonly bytes: number;
  /** The connection has ended by FIN. */
  readonly ended: boolean;
}

/** Until the server has handed all it can to its kernel, and the connection has moved. */
const SETTLE_MS = 400;
const SILENCE_MS = 4000;
const HEAD = /HTTP\/1\.1 (\d{3}) [^\r]*\r\n(?:[^\r]+\r\n)*\r\n/g;

async function main({ address, hosts, sizes, path, bodyBytes, bytesPerSecond }: ExpectJob): Promise<void> {
  const socket = connect({ host: address, port: 80, noDelay: true });
  let text = '';
  let bytes = 0;
  let ended = false;
  socket.on('data', (data) => {
    bytes += data.length;
    // Ramps hold no line that looks like a head.
    text = text.slice(-2000) + data.toString('latin1');
    for (const [head, status] of text.matchAll(HEAD)) {
      statuses.push(Number(status));
      text = text.slice(text.indexOf(head) + head.length);
    }
  });
  const statuses: number[] = [];
  socket.on('end', () => {
    ended = true;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    ended = true;
  });
  const get = (size: number) => `GET /${size}.bin HTTP/1.1\r\nHost: ${hosts[0]}\r\n\r\n`;
  const until = async (done: () => boolean) => {
    const endMs = performance.now() + SILENCE_MS;
    while (!done() && performance.now() < endMs) await delay(5);
  };
  /** In steps, each while the socket flows for a moment. */
  const readSlowly = async (rate: number) => {
    const startedMs = performance.now();
    const start = bytes;
    while (bytes < sizes[0] + sizes[1] / 2 && !ended) {
      if (bytes - start < ((performance.now() - startedMs) / 1000) * rate) {
        socket.resume();
        await new Promise((done) => socket.once('data', done));
        socket.pause();
      } else await delay(5);
    }
    socket.resume();
  };
  socket.write(get(sizes[0]));
  await until(() => bytes > sizes[0]);
  socket.pause();
  socket.write(get(sizes[1]));
  await delay(SETTLE_MS);
  const head = `POST ${path} HTTP/1.1\r\nHost: ${hosts[1]}\r\nContent-Length: ${bodyBytes}\r\n`;
  socket.write(`${head}Expect: 100-continue\r\n\r\n`);
  await delay(SETTLE_MS);
  if (bytesPerSecond === undefined) socket.resume();
  else await readSlowly(bytesPerSecond);
  await until(() => statuses.length > 2);
  if (statuses[2] === 100) socket.write(ramp(path, bodyBytes));
  await until(() => statuses.length > 3 || ended);
  if (statuses[2] !== 100) await until(() => ended);
  process.stdout.write(JSON.stringify({ statuses, bytes, ended } satisfies ExpectReport));
  socket.destroy();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(JSON.parse(process.argv[2]) as ExpectJob);
