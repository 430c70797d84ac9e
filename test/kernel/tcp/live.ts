/** Live connections for tests: both ends in this thread, every byte part of a ramp. */
import assert from 'node:assert';
import { type Endpoint, parseAddress } from '../../../src/base/address.ts';
import { EAGAIN, lastErrno } from '../../../src/kernel/linux/errors.ts';
import { type HalfPipeSeed, restoreHalfPipe } from '../../../src/kernel/linux/half-pipe.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { allocate } from '../../../src/kernel/linux/memory.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';

const DEADLINE_MS = 20_000;
const BUFFER_BYTES = 1 << 20;
const SO_ATTACH_FILTER = 26;
/** Nobody rings it: who waits for it sleeps. */
const ALARM = new Int32Array(new SharedArrayBuffer(4));
export const RAMP_PERIOD = 251;

const ramp = Buffer.alloc(BUFFER_BYTES + RAMP_PERIOD);
for (let i = 0; i < ramp.length; i++) ramp[i] = i % RAMP_PERIOD;

/** One direction of a connection: how far it was written and read, each byte checked against its place. */
export class Stream {
  written = 0;
  verified = 0;
  readonly #memory = allocate(BUFFER_BYTES);

  /** Writes up to `bytes`; returns how many the kernel took. */
  write(fd: number, bytes: number): number {
    const from = this.written % RAMP_PERIOD;
    ramp.copy(this.#memory.bytes, 0, from, from + bytes);
    const sent = libc.send(fd, this.#memory.address, bytes, sockets.MSG_NOSIGNAL);
    if (sent < 0) assert.equal(lastErrno(), EAGAIN);
    this.written += Math.max(sent, 0);
    return Math.max(sent, 0);
  }

  /** Reads and verifies up to `bytes`; -1 at the end of the stream, 0 when there is nothing now. */
  read(fd: number, bytes = BUFFER_BYTES): number {
    const got = libc.recv(fd, this.#memory.address, bytes, 0);
    if (got < 0) {
      assert.equal(lastErrno(), EAGAIN);
      return 0;
    }
    if (got === 0) return -1;
    this.verify(this.#memory.bytes.subarray(0, got));
    return got;
  }

  verify(bytes: Buffer): void {
    const from = this.verified % RAMP_PERIOD;
    assert.ok(bytes.equals(ramp.subarray(from, from + bytes.length)), `wrong bytes after ${this.verified}`);
    this.verified += bytes.length;
  }

  /** Reads until everything written has arrived. */
  async drain(fd: number): Promise<void> {
    await until(() => {
      while (this.read(fd) > 0);
      return this.verified === this.written;
    });
  }
}

/** Waits for a condition, with a deadline. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `not within ${DEADLINE_MS} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export interface Live {
  readonly client: number;
  server: number;
  readonly toServer: Stream;
  readonly toClient: Stream;
}

/** On a busy machine the kernel leaves what comes through loopback to a thread of its own: it is there a little later. */
function acceptedFrom(listener: number): number {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const server = sockets.acceptFrom(listener);
    if (server >= 0) return server;
    assert.equal(lastErrno(), EAGAIN);
    assert.ok(performance.now() < deadline, `no connection within ${DEADLINE_MS} ms`);
    Atomics.wait(ALARM, 0, 0, 1);
  }
}

/** A connection that was made in the ordinary way. */
export function connected(address: string): Live {
  const wildcard = { address: parseAddress(address), port: 0 };
  const listener = sockets.listenOn(wildcard, 1);
  const client = sockets.tcpSocket(wildcard.address);
  sockets.connectTo(client, sockets.localEndpoint(listener));
  const server = acceptedFrom(listener);
  libc.close(listener);
  return { client, server, toServer: new Stream(), toClient: new Stream() };
}

/** What a half-pipe on this machine is restored from; the two ends face each other. */
export function facingSeeds(
  address: string,
  port: number,
  serverSequence: number,
  clientSequence: number,
  change: Partial<HalfPipeSeed> = {},
): { server: HalfPipeSeed; client: HalfPipeSeed } {
  const serverEnd: Endpoint = { address: parseAddress(address), port };
  const clientEnd: Endpoint = { address: parseAddress(address), port: port + 1 };
  const common = {
    mss: 1460,
    options: { sack: true, timestamps: true, sendScale: 8, receiveScale: 8 },
    receiveWindow: 65_536,
    sendWindow: 65_536,
    maxWindow: 65_536,
    tsval: 1000,
    srttUs: 0,
    ...change,
  };
  return {
    server: {
      ...common,
      client: clientEnd,
      public: serverEnd,
      sequence: serverSequence,
      acknowledge: clientSequence,
    },
    client: {
      ...common,
      client: serverEnd,
      public: clientEnd,
      sequence: clientSequence,
      acknowledge: serverSequence,
    },
  };
}

/** A connection with chosen sequence numbers: two restored sockets that face each other. */
export function facing(address: string, port: number, serverSequence: number, clientSequence: number): Live {
  const seeds = facingSeeds(address, port, serverSequence, clientSequence);
  return {
    server: restoreHalfPipe(seeds.server),
    client: restoreHalfPipe(seeds.client),
    toServer: new Stream(),
    toClient: new Stream(),
  };
}

/** Classic BPF on the TCP header: "load byte 13 (flags); if RST is set return 0; return everything". */
const FILTER: readonly (readonly [number, number, number, number])[] = [
  [0x30, 0, 0, 13],
  [0x45, 0, 1, 0x04],
  [0x06, 0, 0, 0],
  [0x06, 0, 0, 0xffff_ffff],
];
const filter = allocate(16 + 8 * FILTER.length);
filter.view.setUint16(0, FILTER.length, true);
filter.view.setBigUint64(8, BigInt(filter.address + 16), true);
FILTER.forEach(([code, ifTrue, ifFalse, k], i) => {
  filter.view.setUint16(16 + 8 * i, code, true);
  filter.view.setUint8(18 + 8 * i, ifTrue);
  filter.view.setUint8(19 + 8 * i, ifFalse);
  filter.view.setUint32(20 + 8 * i, k, true);
});

/**
 * The socket ignores RST: for the moment between two server sockets of one connection, which the router covers when
 * there is one.
 */
export function ignoreResets(fd: number): void {
  assert.equal(libc.setsockopt(fd, sockets.SOL_SOCKET, SO_ATTACH_FILTER, filter.address, 16), 0);
}
