/**
 * The lab's slow, lossy link where the kernel has no netem: a process between two interfaces that moves Ethernet
 * frames from one to the other, each direction with its own delay line and its own loss. Both interfaces and their
 * peers have segmentation and checksum offload off, so that a frame is what would be a packet on a wire.
 *
 * Run as: node hop.js INTERFACE INTERFACE DELAY_MS LOSS_PERCENT SEED COUNTERS_FILE   (delay and loss each way)
 */
import { renameSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { pathToFileURL } from 'node:url';
import { EAGAIN, lastErrno, SystemError } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { packetDrops, packetSocket, ReadableWait } from '../../kernel/linux/packet.ts';
import { MSG_DONTWAIT } from '../../kernel/linux/socket.ts';
import { DelayLine, Loss } from './delay-line.ts';

const SLOT_BYTES = 2048;
/** 16384 full frames: 2 Gbit/s at 90 ms. The memory (32 MiB each way) is touched only as it is used. */
const QUEUE_FRAMES = 16384;
const BATCH_FRAMES = 256;
const REPORT_EVERY_MS = 200;
const BLOCKED_RETRY_MS = 0.5;
const MSG_TRUNC = 0x20;
const { ENETDOWN, ENOBUFS, ENXIO, ENODEV } = constants.errno as typeof constants.errno & { ENXIO: number };

/** What one direction did since the start. */
export interface HopCounters {
  /** Frames forwarded, and their bytes. */
  forwarded: number;
  bytes: number;
  /** Frames lost on purpose. */
  lost: number;
  /** Frames lost because the delay line was full, or the kernel's queue before it. */
  overflows: number;
  /** Frames larger than a slot, which offloads left on would make. */
  oversized: number;
}

class Direction {
  readonly counters: HopCounters = { forwarded: 0, bytes: 0, lost: 0, overflows: 0, oversized: 0 };
  readonly #from: number;
  readonly #to: number;
  readonly #line: DelayLine;
  readonly #loss: Loss;
  readonly #slots = allocate(QUEUE_FRAMES * SLOT_BYTES);
  readonly #spare = allocate(SLOT_BYTES);
  #blockedUntilMs = 0;

  constructor(from: number, to: number, delayMs: number, loss: Loss) {
    this.#from = from;
    this.#to = to;
    this.#line = new DelayLine(QUEUE_FRAMES, delayMs);
    this.#loss = loss;
  }

  /** Takes what has arrived, at most a batch. */
  take(nowMs: number): void {
    for (let i = 0; i < BATCH_FRAMES; i++) {
      const slot = this.#line.freeSlot();
      const address = slot < 0 ? this.#spare.address : this.#slots.address + slot * SLOT_BYTES;
      const length = libc.recv(this.#from, address, SLOT_BYTES, MSG_DONTWAIT | MSG_TRUNC);
      if (length < 0) {
        if (lastErrno() === EAGAIN) return;
        throw new SystemError('recv', lastErrno(), 'frame');
      }
      if (length > SLOT_BYTES) this.counters.oversized++;
      else if (slot < 0) this.counters.overflows++;
      else if (this.#loss.next()) this.counters.lost++;
      else this.#line.push(length, nowMs);
    }
  }

  /** Sends what is due. */
  give(nowMs: number): void {
    for (let slot = this.#line.dueSlot(nowMs); slot >= 0; slot = this.#line.dueSlot(nowMs)) {
      const length = this.#line.lengthOf(slot);
      if (libc.send(this.#to, this.#slots.address + slot * SLOT_BYTES, length, MSG_DONTWAIT) < 0) {
        const errno = lastErrno();
        if (errno !== EAGAIN && errno !== ENOBUFS) throw new SystemError('send', errno, 'frame');
        this.#blockedUntilMs = nowMs + BLOCKED_RETRY_MS;
        return;
      }
      this.counters.forwarded++;
      this.counters.bytes += length;
      this.#line.shift();
    }
  }

  /** When `give` has something to do again. */
  nextMs(): number {
    return Math.max(this.#line.nextDueMs(), this.#blockedUntilMs);
  }

  countKernelDrops(): void {
    this.counters.overflows += packetDrops(this.#from);
  }
}

/** Runs until an interface disappears or a signal ends the process. */
function runHop(
  names: [string, string],
  delayMs: number,
  lossPercent: number,
  seed: number,
  file: string,
): void {
  const [left, right] = [packetSocket(names[0]), packetSocket(names[1])];
  const forth = new Direction(left, right, delayMs, new Loss(lossPercent, seed));
  const back = new Direction(right, left, delayMs, new Loss(lossPercent, seed + 1));
  const readable = new ReadableWait([left, right]);
  let reportAtMs = 0;
  for (;;) {
    const nowMs = performance.now();
    for (const direction of [forth, back]) {
      direction.take(nowMs);
      direction.give(nowMs);
    }
    if (nowMs >= reportAtMs) {
      reportAtMs = nowMs + REPORT_EVERY_MS;
      forth.countKernelDrops();
      back.countKernelDrops();
      // Renamed into place: a reader sees a whole report or the one before.
      writeFileSync(`${file}.new`, JSON.stringify({ forth: forth.counters, back: back.counters }));
      renameSync(`${file}.new`, file);
    }
    const nextMs = Math.min(forth.nextMs(), back.nextMs(), reportAtMs);
    readable.wait(Math.max(0, nextMs - performance.now()));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [left, right, delayMs, lossPercent, seed, file] = process.argv.slice(2);
  try {
    runHop([left, right], Number(delayMs), Number(lossPercent), Number(seed), file);
  } catch (error) {
    // The lab went away under us: that is how it ends.
    const gone = error instanceof SystemError && [ENETDOWN, ENXIO, ENODEV].includes(error.errno);
    if (!gone) throw error;
  }
}
