/**
 * Half-pipes: the out-half of a connection, captured from the anchor's socket and restored at a target as an
 * established socket with empty queues. This is on the path of every handed-off request, so there is one system
 * call a fact and nothing is allocated but the result. Needs CAP_NET_ADMIN and CAP_NET_RAW.
 */
import { add, distance } from '../tcp/sequence.ts';
import { type ConnectionOptions, StateError } from '../tcp/state.ts';
import { type Endpoint, SOCKADDR_BYTES, writeSockaddr } from './address.ts';
import { droppedSegments, setDeaf, setHearing } from './deaf.ts';
import { check, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { injectSegment, SEGMENT_ACK } from './raw.ts';
import {
  agreedMss,
  lastInfo,
  lastWindow,
  queueSequence,
  RECEIVE_QUEUE,
  REPAIR_OFF_PROBE,
  REPAIR_OFF_SILENT,
  REPAIR_ON,
  readInfo,
  readWindow,
  SEND_QUEUE,
  selectQueue,
  setMss,
  setOptions,
  setQueueSequence,
  setRepair,
  setTimestampClock,
  timestampClock,
  writeWindow,
} from './repair-options.ts';
import {
  IPPROTO_TCP,
  localEndpoint,
  remoteEndpoint,
  SOL_SOCKET,
  sendQueueBytes,
  setOption,
  sharePort,
  TCP_NODELAY,
  tcpSocket,
  unsentBytes,
} from './socket.ts';

/** What the out-half starts from, as the anchor's kernel has it. Windows in bytes, unscaled. */
export interface HalfPipeCapture extends ConnectionOptions {
  readonly client: Endpoint;
  readonly public: Endpoint;
  /** As agreed in the SYN segments, in bytes. */
  readonly mss: number;
  /** The sequence number at which the kernel's count of acknowledged bytes was 0. */
  readonly countStart: number;
  /** The sequence number that the next byte written here gets, in this socket's own sequence space. */
  readonly writeSequence: number;
  /** The next byte expected from the client. */
  readonly receiveSequence: number;
  /** What the client allows after the last byte it acknowledged. */
  readonly sendWindow: number;
  readonly maxWindow: number;
  /** What is advertised to the client after `receiveSequence`. */
  readonly receiveWindow: number;
  /** The TSval clock now, in ms. */
  readonly tsval: number;
  /** tsval at any time is (monotonicMs() + clockOffset) >>> 0. */
  readonly clockOffset: number;
  /** 0 when unknown. */
  readonly srttUs: number;
  readonly congestionWindow: number;
}

/** What a target needs to send the out-half from `sequence` on, in the client's sequence space. */
export interface HalfPipeSeed {
  readonly client: Endpoint;
  readonly public: Endpoint;
  readonly mss: number;
  readonly options: ConnectionOptions;
  /** The first byte to send gets this sequence number. */
  readonly sequence: number;
  /** The next byte expected from the client. */
  readonly acknowledge: number;
  /** What was advertised to the client after `acknowledge`, in bytes. */
  readonly receiveWindow: number;
  /** What the client allows after `sequence`, in bytes. */
  readonly sendWindow: number;
  readonly maxWindow: number;
  /** Our TSval clock at `tsvalAtMs`; an odd value is rounded up, so the clock never goes back for the client. */
  readonly tsval: number;
  /** The moment that `tsval` is of (`monotonicMs`), now when absent: the clock has gone on since. */
  readonly tsvalAtMs?: number;
  /** The client's last TSval, to echo; 0 when unknown. */
  readonly tsecr?: number;
  /** The smoothed RTT to start from; 0 when unknown: the first timeout is then 3 s. */
  readonly srttUs: number;
  /** SO_MARK: by it a router knows what the socket sends from its first segment on. */
  readonly mark?: number;
}

/** performance.now() counts from the start of this thread; this is CLOCK_MONOTONIC at that moment, in ms. */
function clockOrigin(): number {
  let best = Number.POSITIVE_INFINITY;
  let origin = 0;
  for (let i = 0; i < 16; i++) {
    const before = performance.now();
    const now = Number(process.hrtime.bigint()) / 1e6;
    const after = performance.now();
    if (after - before < best) {
      best = after - before;
      origin = now - (before + after) / 2;
    }
  }
  return origin;
}

const MONOTONIC_ORIGIN_MS = clockOrigin();

/** CLOCK_MONOTONIC in whole ms, as the kernel counts for TSval; no system call, no allocation. */
export function monotonicMs(): number {
  return Math.floor(MONOTONIC_ORIGIN_MS + performance.now());
}

/** The clock is set in the ms it was read for, or set again; a thread that is interrupted gets a few tries. */
const CLOCK_ATTEMPTS = 4;

/**
 * The socket's clock, from then on known to the ms: the kernel only tells it rounded down to even, so it is moved
 * on, by 1 or 2 ms, to an even value in a known ms.
 */
function alignClock(fd: number): number {
  let clockOffset = 0;
  for (let attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
    const read = timestampClock(fd);
    if (read % 2 === 1)
      throw new StateError('STATE_NOT_CAPTURABLE', 'a connection with microsecond timestamps');
    const clock = add(read, 2);
    const before = monotonicMs();
    setTimestampClock(fd, clock);
    clockOffset = (clock - before) | 0;
    if (monotonicMs() === before) break;
  }
  return clockOffset;
}

/**
 * Reads TCP_INFO, and returns how far the last byte written lies beyond where the count of acknowledged bytes began.
 * The two are of one moment; nobody writes meanwhile, so what is queued only shrinks, and the loop ends.
 */
function readWritten(fd: number): number {
  let queued: number;
  do {
    queued = sendQueueBytes(fd);
    readInfo(fd);
  } while (sendQueueBytes(fd) !== queued);
  return add(lastInfo.bytesAcknowledged(), queued);
}

/**
 * The number after the last byte written, as the kernel says; the socket is in repair. While the send queue is
 * selected, the kernel takes what it would send for sent, all that waits for the client's window included, and sends
 * nothing: an acknowledgement in that moment would do it. So a socket that holds something back is deaf for so long.
 * Returns as well whether it has missed something.
 */
function askWriteSequence(fd: number): { writeSequence: number; missed: boolean } {
  const holdsBack = unsentBytes(fd) > 0;
  const dropped = holdsBack ? droppedSegments(fd) : 0;
  if (holdsBack) setDeaf(fd);
  selectQueue(fd, SEND_QUEUE);
  const writeSequence = queueSequence(fd);
  if (holdsBack) setHearing(fd);
  return { writeSequence, missed: holdsBack && droppedSegments(fd) !== dropped };
}

/**
 * Reads what a target needs from the anchor's socket, which stays in use. `previous`, an earlier capture of the
 * same socket, gives what cannot change, halves the cost, and spares the socket its send queue being selected. The
 * first capture moves the socket's TSval clock on by 1 or 2 ms.
 */
export function captureHalfPipe(fd: number, previous?: HalfPipeCapture): HalfPipeCapture {
  setRepair(fd, REPAIR_ON);
  let missed = false;
  try {
    const asked = previous === undefined ? askWriteSequence(fd) : null;
    missed = asked?.missed ?? false;
    selectQueue(fd, RECEIVE_QUEUE);
    const written = readWritten(fd);
    const countStart = previous?.countStart ?? add(asked!.writeSequence, -written);
    const writeSequence = add(countStart, written);
    readWindow(fd);
    const edge = add(lastWindow.receiveWup(), lastWindow.receiveWindow());
    const receiveSequence = queueSequence(fd);
    const clockOffset =
      previous !== undefined ? previous.clockOffset : lastInfo.timestamps() ? alignClock(fd) : 0;
    return {
      client: previous?.client ?? remoteEndpoint(fd),
      public: previous?.public ?? localEndpoint(fd),
      mss: previous?.mss ?? agreedMss(fd),
      sack: lastInfo.sack(),
      timestamps: lastInfo.timestamps(),
      sendScale: lastInfo.sendScale(),
      receiveScale: lastInfo.receiveScale(),
      countStart,
      writeSequence,
      receiveSequence,
      sendWindow: lastWindow.sendWindow(),
      maxWindow: lastWindow.maxWindow(),
      receiveWindow: Math.max(distance(receiveSequence, edge), 0),
      tsval: (monotonicMs() + clockOffset) >>> 0,
      clockOffset,
      srttUs: lastInfo.srttUs(),
      congestionWindow: lastInfo.congestionWindow(),
    };
  } finally {
    // The client says again what it said.
    setRepair(fd, missed ? REPAIR_OFF_PROBE : REPAIR_OFF_SILENT);
  }
}

const SO_MARK = 36;
const TCP_WINDOW_CLAMP = 10;
/** Since Linux 6.15. */
const TCP_RTO_MAX_MS = 44;
/** The least that the kernel accepts for TCP_RTO_MAX_MS. */
const FIRST_TIMEOUT_MS = 1000;
/** A first timeout of this many RTTs is not premature. */
const FIRST_TIMEOUT_RTTS = 3;
const sockaddr = allocate(SOCKADDR_BYTES);
const dummyByte = allocate(1);
const optionWord = allocate(4);

/** The window field for `bytes`: rounded down, so never more than the client allows. */
function windowField(bytes: number, sendScale: number): number {
  return Math.min(Math.floor(bytes / 2 ** Math.max(sendScale, 0)), 65_535);
}

/** What the RTT is given with: `sequence` is the first byte in the send queue, sent or not. */
export type RttSeed = Pick<
  HalfPipeSeed,
  'client' | 'public' | 'options' | 'sequence' | 'acknowledge' | 'sendWindow' | 'tsecr' | 'srttUs'
>;

/**
 * True when the RTT can be given: it goes by the timestamps option, and the segment that carries it also carries a
 * send window, which must not round down to nothing.
 */
export function canSeedRtt(seed: RttSeed): boolean {
  return (
    seed.srttUs > 0 && seed.options.timestamps && windowField(seed.sendWindow, seed.options.sendScale) > 0
  );
}

/**
 * Gives a socket in repair its RTT: a byte before `sequence` lies in its send queue as if sent, and an ACK for it,
 * as if from the client, echoes a TSval that is one RTT old (RFC 7323 section 4.3). Throws when the byte is still
 * there: it must never be sent.
 */
export function seedRtt(fd: number, seed: RttSeed, clock: number): void {
  check('send', libc.send(fd, dummyByte.address, 1, 0));
  const rttMs = Math.max(Math.round(seed.srttUs / 1000), 1);
  injectSegment({
    from: seed.client,
    to: seed.public,
    sequence: seed.acknowledge,
    acknowledge: seed.sequence,
    flags: SEGMENT_ACK,
    window: windowField(seed.sendWindow, seed.options.sendScale),
    timestamps: true,
    tsval: seed.tsecr ?? 0,
    tsecr: add(clock, -rttMs),
  });
  if (sendQueueBytes(fd) !== 0) throw new SystemError('sendto', 0, 'the RTT segment did not arrive');
}

/** What is known of the socket that `restoreHalfPipe` made last: tsval is (monotonicMs() + clockOffset) >>> 0. */
export const lastRestored = { clockOffset: 0 };

/** Sets the clock to what it is at this very ms; a thread that is held up in between tries again. */
function setClock(fd: number, seed: HalfPipeSeed): number {
  const since = seed.tsvalAtMs ?? monotonicMs();
  let clock = 0;
  for (let attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
    const before = monotonicMs();
    const exact = add(seed.tsval, before - since);
    clock = add(exact, exact % 2);
    setTimestampClock(fd, clock);
    lastRestored.clockOffset = (clock - before) | 0;
    if (monotonicMs() === before) break;
  }
  return clock;
}

function limitTimeout(fd: number, milliseconds: number): void {
  optionWord.view.setInt32(0, milliseconds, true);
  libc.setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, optionWord.address, 4);
}

function establish(fd: number, seed: HalfPipeSeed, withRtt: boolean): void {
  const { options } = seed;
  if (seed.mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, seed.mark);
  setRepair(fd, REPAIR_ON);
  sharePort(fd);
  selectQueue(fd, RECEIVE_QUEUE);
  setQueueSequence(fd, seed.acknowledge);
  selectQueue(fd, SEND_QUEUE);
  setQueueSequence(fd, withRtt ? add(seed.sequence, -1) : seed.sequence);
  setMss(fd, seed.mss);
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  check('bind', libc.bind(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, seed.public)));
  check('connect', libc.connect(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, seed.client)));
  setOptions(fd, seed.mss, options);
  const clock = options.timestamps ? setClock(fd, seed) : seed.tsval;
  if (withRtt) seedRtt(fd, seed, clock);
  // Its own buffer would let it advertise more than the anchor did, for bytes that the anchor then drops.
  setOption(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, Math.max(seed.receiveWindow, 1));
  writeWindow(fd, seed.acknowledge, seed.sendWindow, seed.maxWindow, seed.receiveWindow, seed.acknowledge);
  // No timestamps, no RTT: a limit on the timeout is what is left (older kernels have none, and start at 3 s). It
  // stays for the life of the half-pipe.
  if (!withRtt && seed.srttUs > 0) {
    limitTimeout(fd, Math.max(FIRST_TIMEOUT_MS, Math.ceil((seed.srttUs * FIRST_TIMEOUT_RTTS) / 1000)));
  }
  setRepair(fd, REPAIR_OFF_SILENT);
}

/**
 * An established socket, non-blocking and TCP_NODELAY, with empty queues, that sends from `sequence` on. Nothing is
 * sent by this. Throws SystemError: EADDRNOTAVAIL when this machine has a socket with these endpoints already, or
 * not the public address.
 */
export function restoreHalfPipe(seed: HalfPipeSeed): number {
  let withRtt = canSeedRtt(seed);
  for (;;) {
    const fd = tcpSocket(seed.public.address);
    try {
      establish(fd, seed, withRtt);
      return fd;
    } catch (error) {
      // In repair or never connected: silent, and a byte that stands for the RTT goes with it.
      libc.close(fd);
      if (!withRtt) throw error;
      withRtt = false;
    }
  }
}

/**
 * Sets the send window of a socket in use, for a half-pipe that was kept while others sent on the flow: to what
 * `windowFrom` says of its first unacknowledged byte, which is given as the number of bytes from there to the last
 * one written. Bytes that waited for it go out.
 */
export function refreshSendWindow(fd: number, windowFrom: (queuedBytes: number) => number): void {
  setRepair(fd, REPAIR_ON);
  try {
    let queued: number;
    do {
      queued = sendQueueBytes(fd);
      const sendWindow = windowFrom(queued);
      readWindow(fd);
      writeWindow(
        fd,
        lastWindow.sendWl1(),
        sendWindow,
        Math.max(lastWindow.maxWindow(), sendWindow),
        lastWindow.receiveWindow(),
        lastWindow.receiveWup(),
      );
      // An acknowledgement just before would have it allowed as much more as was acknowledged.
    } while (sendQueueBytes(fd) !== queued);
  } finally {
    setRepair(fd, REPAIR_OFF_SILENT);
  }
  // Setting it, even again, makes the kernel look at what it may send now.
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}
