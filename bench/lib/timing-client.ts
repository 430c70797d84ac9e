/**
 * A client that times every request, run in a lab's client namespace: `node timing-client.js JOB` with the job as JSON;
 * prints a TimingReport as JSON. Unlike wrk it adds nothing for requests that it would have sent while it waited.
 */
import { connect, type Socket } from 'node:net';

export interface TimingJob {
  /** `HOST` or `HOST:PORT`. */
  readonly endpoint: string;
  readonly path: string;
  readonly seconds: number;
  readonly connections: number;
  /** Requests of a connection; null: as many as there is time for. */
  readonly requests: number | null;
}

export interface TimingReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** From the request, or from connect() when it is the connection's first, to the last byte of the answer. */
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly failures: number;
}

const US_PER_MS = 1000;
const HEAD_END = '\r\n\r\n';
const LENGTH = /\r\ncontent-length: (\d+)/i;

const job = JSON.parse(process.argv[2]) as TimingJob;
const [host, port = '80'] = job.endpoint.split(':');
const requestOf = (last: boolean): string =>
  `GET ${job.path} HTTP/1.1\r\nHost: bench\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;
const [KEPT, LAST] = [false, true].map(requestOf);
const timesUs: number[] = [];
let failures = 0;
const startMs = performance.now();
const untilMs = startMs + job.seconds * 1000;

/** One connection after the other, until the time is over. */
function work(done: () => void): void {
  const beganMs = performance.now();
  const socket = connect(Number(port), host);
  let askedMs = beganMs;
  let asked = 0;
  let head = '';
  /** Of the answer's body; -1: its head is not there. */
  let left = -1;
  const isLast = () => asked === job.requests;
  const ask = () => {
    if (asked > 0) askedMs = performance.now();
    asked++;
    head = '';
    left = -1;
    socket.write(isLast() ? LAST : KEPT);
  };
  const answered = () => {
    timesUs.push((performance.now() - askedMs) * US_PER_MS);
    if (isLast() || performance.now() >= untilMs) return end(socket, done);
    ask();
  };
  socket.setNoDelay(true);
  socket.on('connect', ask);
  socket.on('data', (data) => {
    let body = data.length;
    if (left < 0) {
      head += data.toString('latin1');
      const at = head.indexOf(HEAD_END);
      if (at < 0) return;
      const length = LENGTH.exec(head);
      if (length === null || !head.startsWith('HTTP/1.1 200')) {
        socket.destroy(new Error(head));
        return;
      }
      left = Number(length[1]);
      body = head.length - at - HEAD_END.length;
    }
    left -= body;
    if (left === 0) answered();
  });
  socket.on('error', () => {
    failures++;
  });
  socket.on('close', () => end(socket, done));
}

function end(socket: Socket, done: () => void): void {
  socket.removeAllListeners('close');
  socket.removeAllListeners('data');
  socket.destroy();
  if (performance.now() < untilMs) setImmediate(work, done);
  else done();
}

await Promise.all(Array.from({ length: job.connections }, () => new Promise<void>((done) => work(done))));
const seconds = (performance.now() - startMs) / 1000;
timesUs.sort((a, b) => a - b);
const at = (share: number): number => timesUs[Math.floor(share * (timesUs.length - 1))] ?? 0;
const report: TimingReport = {
  requests: timesUs.length,
  requestsPerSecond: timesUs.length / seconds,
  p50Us: at(0.5),
  p99Us: at(0.99),
  p999Us: at(0.999),
  failures,
};
console.log(JSON.stringify(report));
