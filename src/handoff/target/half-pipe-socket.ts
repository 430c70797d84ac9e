/**
 * The socket of a half-pipe, with its entry in the router. The two belong together: the entry says how the socket's
 * sequence space lies in the client's, and no segment may reach the node's listeners while there is the one without
 * the other, since a listener would answer with a reset.
 *
 *   slot --open--> rules without ranges, endpoints claimed, socket --> rules in force --reuse--> rules in force
 *    ^                                                                    |
 *    `-------------------- close: rules without ranges, closed silently --'   release: the slot goes, too
 */

import assert from 'node:assert';
import type { Endpoint } from '../../base/address.ts';
import { EPOLLET, EPOLLOUT } from '../../kernel/linux/epoll.ts';
import { ETIMEDOUT, SystemError } from '../../kernel/linux/errors.ts';
import { TcpState } from '../../kernel/linux/repair-options.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import { HALF_PIPE_MARK, ROLE_TARGET } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { pathMss } from '../../kernel/tcp/path-mss.ts';
import { max } from '../../kernel/tcp/sequence.ts';
import { NO_SCALING } from '../../kernel/tcp/state.ts';
import {
  type HalfPipe as HalfPipeBlock,
  NO_WINDOW_SCALE,
  RejectReason,
} from '../../protocol/backplane/frames.ts';
import type { ByteSink } from '../../serve/byte-sink.ts';
import type { PathReport } from '../flow/agreed.ts';
import { leaseBinds, leaseEndsSoon } from '../flow/lease.ts';
import { renewSendWindow } from '../flow/send-window.ts';
import type { RestoredSocket, SocketOwner } from './half-pipe-ports.ts';

/** Congestion state is reported when it can matter: on paths of some length, or after many bytes. */
const REPORT_RTT_US = 1000;
const REPORT_BYTES = 64 * 1024;
const ERROR_CHECK_MS = 1000;

const NOTHING_TO_REPORT: PathReport = { congestionWindow: 0, srttUs: 0 };

/** What the anchor's clock says now, as far as frames tell time; never behind what it said when it sent. */
function clockOf({ tsval }: HalfPipeBlock, sentMs: number, nowMs: number): number {
  return (tsval + (nowMs - sentMs)) >>> 0;
}

export class HalfPipeSocket {
  readonly slot: number;
  readonly client: Endpoint;
  readonly public: Endpoint;
  /** What `write` puts in force. */
  readonly rules = ranges.emptyRules(ROLE_TARGET);
  readonly #owner: SocketOwner;
  readonly #ports: SocketOwner['ports'];
  #fd = -1;
  #out: ByteSink | null = null;
  #clockOffset = 0;
  #watchesWrites = false;
  /** The socket can be another half-pipe's when this one ends. */
  #isPlain = false;
  /** The connection's segments reach the entry. */
  #isClaimed = false;
  /** The round-trip time of the path, as the anchor knew it. */
  #srttUs = 0;
  /** What one of its segments carries at most. */
  #mss = 0;
  /** Segments of the client seen when the socket's window was last set from here. */
  #refreshedAt = 0;
  /** The right edge of the client's window, as far as it was told here. */
  #edge = 0;
  /** The epoch for which a confirmation was needed last. */
  #askedEpoch = 0;
  /** When the kernel was asked last whether it has given up. */
  #checkedAtMs = 0;

  /** `anchor`: the node. */
  constructor(owner: SocketOwner, slot: number, anchor: number, block: HalfPipeBlock) {
    this.#owner = owner;
    this.#ports = owner.ports;
    this.slot = slot;
    this.rules.engine = owner.ports.engine;
    this.rules.anchor = anchor + 1;
    this.client = { address: Buffer.from(block.clientAddress), port: block.clientPort };
    this.public = { address: Buffer.from(block.publicAddress), port: block.publicPort };
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  get clientAddress(): Buffer {
    return this.client.address;
  }

  /** A half-pipe sends in the clear. */
  get isSecure(): boolean {
    return false;
  }

  /** The time at this very moment. */
  exactMs(): number {
    return this.#ports.clock.exactMs();
  }

  /** What sends the out-half; only while it is open. */
  get out(): ByteSink {
    assert(this.#out !== null, 'it is open');
    return this.#out;
  }

  /** What the client has acknowledged, in its sequence space. The router moves it on at any moment: read it once. */
  get acknowledged(): number {
    return this.#ports.table.ack(this.slot);
  }

  /** What the kernel still holds of what was sent. */
  get queuedBytes(): number {
    return this.isOpen ? this.#ports.kernel.queuedBytes(this.#fd) : 0;
  }

  /** Puts the rules in force. */
  write(): void {
    this.#ports.table.write(this.slot, this.rules);
  }

  /** Drops what the client has acknowledged. Returns true when the rules have changed. */
  trim(): boolean {
    return ranges.trim(this.rules, this.acknowledged);
  }

  /** Before the rules of a response are made that was asked for at `sentMs`. False: there is no room for its range. */
  prepare(block: HalfPipeBlock, sentMs: number): boolean {
    const { rules } = this;
    if (this.isOpen && block.mss < this.#mss && this.#isTooLarge(block)) this.close();
    if (!this.isOpen) {
      this.#reset(block);
      return true;
    }
    this.trim();
    if (!ranges.hasRoom(rules)) return false;
    const now = this.exactMs();
    rules.stamp = (clockOf(block, sentMs, now) - ((now + this.#clockOffset) >>> 0)) >>> 0;
    return true;
  }

  /**
   * Whether the socket would send larger segments than the path lets through. While it owed nothing it was told of no
   * smaller MTU (rule icmp-error), and it can be told only when it is made.
   */
  #isTooLarge(block: HalfPipeBlock): boolean {
    const { kernel } = this.#ports;
    this.#mss = pathMss(this.#mss, kernel.info(this.#fd).pathMtu(), this.public.address);
    return this.#mss > block.mss && this.queuedBytes === 0;
  }

  /** Nothing has been sent by the socket to be, and nothing was seen. Its clock is the anchor's. */
  #reset({ sequence, acknowledge, sendWindow }: HalfPipeBlock): void {
    this.rules.ranges = [];
    this.rules.ownNext = sequence;
    this.rules.inLocal = acknowledge;
    this.rules.stamp = 0;
    this.#edge = (sequence + sendWindow) >>> 0;
    this.#ports.table.resetObserved(this.slot, {
      ack: sequence,
      edge: this.#edge,
      sentNext: sequence,
      inAck: acknowledge,
    });
  }

  /** Makes the socket, and puts the rules in force. Else says why not. */
  open(block: HalfPipeBlock, sentMs: number): RejectReason | null {
    // Before connect(): the sock_ops program looks the flow up. Without ranges, until there is a socket: what comes
    // before would reach the listener of this address, which answers with a reset.
    this.#ports.table.write(this.slot, { ...this.rules, ranges: [] });
    // Where the client uses a port anew, a half-pipe of the connection before it may still be here.
    const ends = { client: this.client, public: this.public };
    if (!this.#owner.claim(ends, this.slot)) return RejectReason.BUSY_TUPLE;
    this.#isClaimed = true;
    const failure = this.#restore(block, sentMs);
    if (failure !== null) return failure;
    this.write();
    this.#srttUs = block.srttUs;
    return null;
  }

  #restore(block: HalfPipeBlock, sentMs: number): RejectReason | null {
    const now = this.exactMs();
    const { kernel, count, stallSeconds, log } = this.#ports;
    let restored: RestoredSocket;
    try {
      const seed = {
        client: this.client,
        public: this.public,
        mss: block.mss,
        options: {
          sack: block.sack,
          timestamps: block.timestamps,
          sendScale: block.sendScale === NO_WINDOW_SCALE ? NO_SCALING : block.sendScale,
          receiveScale: block.receiveScale === NO_WINDOW_SCALE ? NO_SCALING : block.receiveScale,
        },
        sequence: block.sequence,
        acknowledge: block.acknowledge,
        receiveWindow: block.receiveWindow,
        sendWindow: block.sendWindow,
        maxWindow: block.maxWindow,
        tsval: clockOf(block, sentMs, now),
        tsvalAtMs: now,
        tsecr: block.tsecr,
        srttUs: block.srttUs >= REPORT_RTT_US ? block.srttUs : 0,
        mark: HALF_PIPE_MARK,
      };
      restored = kernel.restore(seed, this.#owner.spares.take(this.public));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      log('warn', 'half-pipe refused by the kernel', { error: error.message });
      return error.code === 'EADDRNOTAVAIL' ? RejectReason.BUSY_TUPLE : RejectReason.STATE_INVALID;
    }
    this.#fd = restored.fd;
    this.#clockOffset = restored.clockOffset;
    this.#isPlain = !restored.limitsTimeout;
    this.#mss = block.mss;
    this.#out = kernel.out(restored.fd);
    if (!restored.wasSpare) kernel.limitStall(restored.fd, stallSeconds * 1000);
    count.add('half_pipes_opened');
    return null;
  }

  /**
   * Goes on after others have sent: puts the rules in force, and tells the socket of the client's window. `isIdle`: all
   * that was sent from here is acknowledged; `bytes` follow, or -1: nobody knows. Not null: the socket has failed.
   */
  reuse(block: HalfPipeBlock, bytes: number, isIdle: boolean): RejectReason | null {
    this.write();
    this.#ports.count.add('half_pipes_reused');
    const { sequence, sendWindow } = block;
    // A window of 0 says only that the client's window ends at the response's start, or anywhere before.
    this.#edge = this.#later(sendWindow > 0 ? (sequence + sendWindow) >>> 0 : this.#edge);
    if (!isIdle || !this.#windowSuffices(block, bytes)) {
      try {
        this.widen(this.#edge);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        return RejectReason.STATE_INVALID;
      }
      this.#refreshedAt = this.#ports.table.segments(this.slot);
    }
    this.#srttUs = block.srttUs;
    return null;
  }

  /** The right edge of the client's window: `edge`, or what the router has seen. */
  #later(edge: number): number {
    return max(edge, this.#ports.table.edge(this.slot));
  }

  /** Tells the socket of the client's window: it ends at `edge`, or further on. */
  widen(edge: number): void {
    this.#edge = max(this.#edge, edge);
    renewSendWindow(this.#fd, this.rules, () => this.#later(this.#edge), this.#ports.kernel.setSendWindow);
  }

  /**
   * Whether the whole response fits into the client's window as it is, and as the socket last heard of it. Then the
   * socket needs to hear nothing: with an empty queue, what it was told last is what it goes by, unless it was told
   * otherwise from here since.
   */
  #windowSuffices(block: HalfPipeBlock, bytes: number): boolean {
    const { table } = this.#ports;
    return (
      bytes >= 0 &&
      this.#refreshedAt !== table.segments(this.slot) &&
      bytes <= Math.min(table.window(this.slot), block.sendWindow)
    );
  }

  /**
   * The lease is about to end, and the client has acknowledged nothing of the range: the first bytes are lost, or held
   * back (the client's window is full), or the path is long. Then they may go out, or out again, only with the
   * anchor's word that nobody else sends in their place. True once for a response.
   */
  needsConfirm(): boolean {
    const { rules } = this;
    if (this.#askedEpoch === rules.epoch || !leaseBinds(rules, this.acknowledged)) return false;
    if (!leaseEndsSoon(rules, this.exactMs())) return false;
    this.#askedEpoch = rules.epoch;
    return true;
  }

  /** Has `source` told when the socket takes bytes again. From then on it is told of errors, too. */
  watchWrites(source: Source): void {
    if (this.#watchesWrites) return;
    this.#watchesWrites = true;
    this.#ports.watch.add(this.#fd, EPOLLOUT | EPOLLET, source);
  }

  /** Whether an error that epoll has told of is that the client took nothing for too long. */
  get hasStalled(): boolean {
    return this.#ports.kernel.takeError(this.#fd) === ETIMEDOUT;
  }

  /** Whether the kernel has given up (TCP_USER_TIMEOUT), for a socket that is not watched: now and then it is asked. */
  hasGivenUp(nowMs: number): boolean {
    if (!this.isOpen || nowMs - this.#checkedAtMs < ERROR_CHECK_MS) return false;
    this.#checkedAtMs = nowMs;
    return this.#ports.kernel.info(this.#fd).state() === TcpState.CLOSE;
  }

  /** What the path is like after a response of `bytes`. */
  report(bytes: number): PathReport {
    const matters = this.#srttUs >= REPORT_RTT_US || bytes >= REPORT_BYTES;
    if (!matters || !this.isOpen) return NOTHING_TO_REPORT;
    const info = this.#ports.kernel.info(this.#fd);
    return { congestionWindow: info.congestionWindow(), srttUs: info.srttUs() };
  }

  /** Drops the socket and what it still holds; nobody is told. The slot stays, for a next one. */
  close(): void {
    if (this.#fd < 0) return;
    // Without ranges every segment is dropped: none may reach the listener of this address, which would reset it.
    this.rules.ranges = [];
    this.write();
    // One that still holds something may be late with it: its pacing would delay the next connection's first segment,
    // past the lease.
    if (this.#isPlain && !this.#watchesWrites && this.queuedBytes === 0) {
      this.#owner.spares.keep(this.#fd, this.public);
    } else {
      this.#ports.watch.forget(this.#fd);
      this.#ports.kernel.closeSilently(this.#fd);
    }
    this.#watchesWrites = false;
    this.#fd = -1;
    this.#out = null;
    this.#unclaim();
  }

  #unclaim(): void {
    if (!this.#isClaimed) return;
    this.#isClaimed = false;
    this.#ports.table.uninstall(this.slot);
  }

  /** Gives everything back. */
  release(): void {
    this.close();
    // A socket that could not be opened has its entry in the router all the same.
    this.#unclaim();
    this.#ports.table.release(this.slot);
  }
}
