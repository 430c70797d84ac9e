/**
 * A client that counts connections, run in a lab's client namespace: `node connections-client.js JOB` with the job as
 * JSON; prints a ConnectionsReport as JSON. `closed` workers open one connection after the other; with `perSecond`
 * connections are opened at that rate, whatever becomes of the earlier ones.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface ConnectionsJob {
  /** `HOST` or `HOST:PORT`. */
  readonly endpoint: string;
  /** Requested in turn on every connection. */
  readonly paths: readonly string[];
  readonly seconds: number;
  /** Connections at a time. */
  readonly workers?: number;
  /** Connections opened each second; then `workers` has no meaning. */
  readonly perSecond?: number;
  /** All requests of a connection are sent at once; else each after the answer to the one before. */
  readonly pipelined: boolean;
  /** Not pipelined: requests go in twos, the second so many microseconds behind the first, from and to. */
  readonly behindUs?: readonly [number, number];
}

export interface ConnectionsReport {
  readonly connections: number;
  readonly requests: number;
  readonly seconds: number;
  /** Of these, answered before the job's time was over: connections that had begun by then are finished. */
  readonly requestsInTime: number;
  /** From connect() to the last byte of the last answer. */
  readonly lifetimeMs: { readonly mean: number; readonly p50: number; readonly p99: number };
  /** From each request to the first byte of its answer, when they are not pipelined. */
  readonly firstByteUs: { readonly p50: number; readonly p99: number };
  /** How many of them waited for that longer than WAIT_MS: something of them was sent twice. */
  readonly waited: number;
  readonly failures: Readonly<Record<string, number>>;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const SILENCE_MS = 15_000;
const MS_PER_SECOND = 1000;
const US_PER_MS = 1000;
/** Kernels send again after 200 ms at the earliest, or two RTTs and what the other end may delay. */
const WAIT_MS = 50;

const job = JSON.parse(process.argv[2]) as ConnectionsJob;
const [host, port = '80'] = job.endpoint.split(':');
const lifetimesMs: number[] = [];
const firstBytesUs: number[] = [];
const failures: Record<string, number> = {};
let requests = 0;
let requestsInTime = 0;

const requestOf = (path: string, last: boolean): string =>
  `GET ${path} HTTP/1.1\r\nHost: bench\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;

/** Timers are not as fine. */
function spin(us: number): void {
  const until = performance.now() + us / US_PER_MS;
  while (performance.now() < until);
}

/** One connection with all requests; resolves when it is over, whatever became of it. */
function connection(): Promise<void> {
  let resolve = () => {};
  const over = new Promise<void>((done) => {
    resolve = done;
  });
  const connectedAt = performance.now();
  const socket = connect(Number(port), host);
  let answered = 0;
  let asked = 0;
  /** Answers of which something has come. */
  let begun = 0;
  const askedAt: number[] = [];
  let held = Buffer.alloc(0);
  let bodyBytes = -1;
  let failed = false;
  const fail = (why: string) => {
    if (!failed && answered < job.paths.length) failures[why] = (failures[why] ?? 0) + 1;
    failed = true;
    socket.destroy();
  };
  const ask = () => {
    const last = job.paths.length - 1;
    askedAt.push(performance.now());
    if (job.pipelined) socket.write(job.paths.map((path, i) => requestOf(path, i === last)).join(''));
    else socket.write(requestOf(job.paths[asked], asked === last));
    asked++;
    if (job.behindUs === undefined || asked % 2 === 0 || asked > last) return;
    const [from, to] = job.behindUs;
    spin(from + Math.random() * (to - from));
    ask();
  };
  const answer = () => {
    answered++;
    requests++;
    if (performance.now() < untilMs) requestsInTime++;
    bodyBytes = -1;
    if (answered === job.paths.length) {
      lifetimesMs.push(performance.now() - connectedAt);
      socket.end();
    } else if (!job.pipelined && answered === asked) ask();
  };
  socket.setNoDelay(true);
  socket.setTimeout(SILENCE_MS, () => fail('silence'));
  socket.on('connect', ask);
  socket.on('data', (data) => {
    held = held.length === 0 ? data : Buffer.concat([held, data]);
    while (held.length > 0 && !failed) {
      if (bodyBytes < 0) {
        if (!job.pipelined && begun === answered) {
          firstBytesUs.push((performance.now() - askedAt[begun]) * US_PER_MS);
          begun++;
        }
        const end = held.indexOf(HEAD_END);
        if (end < 0) return;
        const head = held.toString('latin1', 0, end);
        if (!head.startsWith('HTTP/1.1 200')) return fail(head.slice(0, 12));
        bodyBytes = Number(/content-length: (\d+)/i.exec(head)![1]);
        held = held.subarray(end + HEAD_END.length);
      }
      const taken = Math.min(bodyBytes, held.length);
      bodyBytes -= taken;
      held = held.subarray(taken);
      if (bodyBytes === 0) answer();
    }
  });
  socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
  socket.on('close', () => {
    fail('closed early');
    resolve();
  });
  return over;
}

async function worker(untilMs: number): Promise<void> {
  while (performance.now() < untilMs) await connection();
}

async function atRate(perSecond: number, untilMs: number): Promise<void> {
  const begun = performance.now();
  const open = new Set<Promise<void>>();
  for (let opened = 0; performance.now() < untilMs; ) {
    const due = Math.floor(((performance.now() - begun) / MS_PER_SECOND) * perSecond);
    for (; opened < due; opened++) {
      const one = connection();
      open.add(one);
      void one.then(() => open.delete(one));
    }
    await delay(1);
  }
  await Promise.all(open);
}

const sorted = (values: number[]): number[] => values.sort((a, b) => a - b);
const percentile = (values: number[], share: number): number =>
  values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;

const begun = performance.now();
const untilMs = begun + job.seconds * MS_PER_SECOND;
if (job.perSecond !== undefined) await atRate(job.perSecond, untilMs);
else await Promise.all(Array.from({ length: job.workers ?? 1 }, () => worker(untilMs)));
const seconds = (performance.now() - begun) / MS_PER_SECOND;
sorted(lifetimesMs);
sorted(firstBytesUs);
const report: ConnectionsReport = {
  connections: lifetimesMs.length,
  requests,
  seconds,
  requestsInTime,
  lifetimeMs: {
    mean: lifetimesMs.reduce((sum, ms) => sum + ms, 0) / Math.max(lifetimesMs.length, 1),
    p50: percentile(lifetimesMs, 0.5),
    p99: percentile(lifetimesMs, 0.99),
  },
  firstByteUs: { p50: percentile(firstBytesUs, 0.5), p99: percentile(firstBytesUs, 0.99) },
  waited: firstBytesUs.filter((us) => us > WAIT_MS * US_PER_MS).length,
  failures,
};
console.log(JSON.stringify(report));
