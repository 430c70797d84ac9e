/**
 * A client that counts TLS handshakes, run in a lab's client namespace: `node handshakes-client.js JOB` with the job as
 * JSON; prints a HandshakesReport as JSON. Each worker opens one connection after the other, asks for one document on it
 * (by then the server's tickets have come), and reads it to the connection's end.
 */
import { connect, type TLSSocket } from 'node:tls';

export interface HandshakesJob {
  /** `HOST` or `HOST:PORT`. */
  readonly endpoint: string;
  readonly path: string;
  readonly seconds: number;
  /** Connections at a time. */
  readonly workers: number;
  /** Each by the ticket of the worker's connection before, but for its first; else none by a ticket. */
  readonly resumed: boolean;
}

export interface HandshakesReport {
  readonly full: number;
  readonly resumed: number;
  readonly seconds: number;
}

const MS_PER_SECOND = 1000;
const SILENCE_MS = 10_000;
const STATUS_OK = 'HTTP/1.1 200';

const job = JSON.parse(process.argv[2]) as HandshakesJob;
const [host, port = '443'] = job.endpoint.split(':');
const request = `GET ${job.path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n`;
const counts = { full: 0, resumed: 0 };

/** One connection; resolves with its ticket. */
function connection(session: Buffer | undefined): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let ticket: Buffer | undefined;
    let answer = '';
    const options = { host, port: Number(port), minVersion: 'TLSv1.3', rejectUnauthorized: false } as const;
    const socket: TLSSocket = connect({ ...options, ...(session && { session }) }, () => {
      counts[socket.isSessionReused() ? 'resumed' : 'full']++;
      socket.write(request);
    });
    socket.setEncoding('latin1');
    socket.setTimeout(SILENCE_MS, () => socket.destroy(new Error('silence')));
    socket.on('session', (bytes) => {
      ticket = bytes;
    });
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      if (answer.startsWith(STATUS_OK)) resolve(ticket);
      else reject(new Error(`answer ${JSON.stringify(answer.slice(0, STATUS_OK.length))}`));
    });
  });
}

async function worker(untilMs: number): Promise<void> {
  let ticket: Buffer | undefined;
  while (performance.now() < untilMs) {
    const next = await connection(ticket);
    if (job.resumed) ticket = next;
  }
}

const startMs = performance.now();
const untilMs = startMs + job.seconds * MS_PER_SECOND;
await Promise.all(Array.from({ length: job.workers }, () => worker(untilMs)));
const seconds = (performance.now() - startMs) / MS_PER_SECOND;
process.stdout.write(JSON.stringify({ ...counts, seconds } satisfies HandshakesReport));
