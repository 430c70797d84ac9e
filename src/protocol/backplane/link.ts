/**
 * A link: one permanent backplane connection between an engine here and an engine of another node. The session and
 * the frames are src/backplane's; here is the socket: greeting, HELLO, keep-alive, and who gets which frame.
 *
 *     connecting -> greeting (session, HELLO) -> up -> closed
 *
 * Whoever opens a conversation on the link (a flow's half-pipe, a relayed request) takes an id; the dialling end
 * takes odd ids, the accepting end even ones, so an id means the same at both ends.
 */

import { NumberTable } from '../../base/number-table.ts';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../kernel/linux/epoll.ts';
import { EAGAIN, EINTR, lastErrno, SystemError } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { addressOf } from '../../kernel/linux/memory.ts';
import { monotonicMs } from '../../kernel/linux/monotonic.ts';
import {
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  pendingError,
  setOption,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
} from '../../kernel/linux/socket.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import { ClockFilter } from './clock.ts';
import { maySend } from './conversation.ts';
import { FrameError, SessionError } from './errors.ts';
import { type Frame, FrameType, type Hello, isBulk, PROTOCOL_VERSION } from './frames.ts';
import type { Refusal } from './gate.ts';
import { Inbox } from './inbox.ts';
import { Outbox } from './outbox.ts';
import { type Role, Session, type SessionState } from './session.ts';

/** What the kernel takes ahead of what it may send: a frame comes behind that. */
const MAX_UNSENT_BYTES = 128 * 1024;

/** Between two signs of life. */
export const KEEPALIVE_MS = 500;
const SILENT_MS = 2.5 * KEEPALIVE_MS;

const NOTHING = Buffer.alloc(0);

/** The end here of a conversation on a link: it gets the frames that bear its id. */
export interface Conversation {
  frame(frame: Frame, link: Link): void;
  /** The link is gone; nothing more comes. */
  linkDown(link: Link): void;
}

/** What a link needs of its engine. */
export interface LinkHost {
  readonly nowMs: number;
  /** A receive buffer that only links use: what a frame sets off may receive other things before the next frame. */
  readonly linkReceiveBuffer: Buffer;
  readonly linkReceiveAddress: number;
  readonly clusterKey: Buffer;
  hello(): Hello;
  /** HELLO came: not null refuses the peer, and says why. */
  linkUp(link: Link, hello: Hello): string | null;
  /** A connection to the backplane's port that was closed at once. */
  connectionRefused(address: Buffer, refusal: Refusal): void;
  linkClosed(link: Link, reason: string, expected: boolean): void;
  /** A frame that opens a conversation, even one that there is, or one without a conversation (LOAD). */
  open(link: Link, frame: Frame): void;
  count(
    name:
      | 'frames_sent'
      | 'frames_received'
      | 'frames_refused'
      | 'backplane_bytes_sent'
      | 'backplane_bytes_received',
    by: number,
  ): void;
  watch(fd: number, events: number, source: Source): void;
  forget(fd: number): void;
}

export class Link implements Source {
  readonly fd: number;
  readonly role: Role;
  /** The peer's. */
  readonly address: Buffer;
  /** How far the handshake had come when all went well. */
  stage: SessionState = 'WAIT_GREETING';
  readonly #openedMs: number;
  /** Index of the peer node in the configuration; -1 until HELLO. */
  node = -1;
  peer: Hello | null = null;
  /** Index of the peer's engine that a dialler wants. */
  readonly wantedEngine: number;
  readonly wantedNode: number;
  readonly clock = new ClockFilter();
  readonly #host: LinkHost;
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  /** Where its storage is, by the storage that was asked about. */
  #storage: { readonly of: Buffer; readonly address: number } = { of: NOTHING, address: 0 };
  readonly #conversations = new NumberTable<Conversation>();
  #nextId: number;
  #helloSent = false;
  /** A frame that must get through found no room: the peer does not read. */
  #overrun = false;
  #closed = false;
  lastHeardMs: number;
  #lastKeepaliveMs: number;
  #lastPeerMs = 0;
  #lastPeerAtMs = 0;

  /** `fd`: non-blocking, connecting or connected to `address`. */
  constructor(
    host: LinkHost,
    fd: number,
    role: Role,
    address: Buffer,
    wantedNode: number,
    wantedEngine: number,
  ) {
    this.#host = host;
    this.fd = fd;
    this.role = role;
    this.address = address;
    this.#openedMs = host.nowMs;
    this.wantedNode = wantedNode;
    this.wantedEngine = wantedEngine;
    this.#nextId = role === 'dial' ? 1 : 2;
    this.#session = new Session({ role, key: host.clusterKey });
    this.#inbox = new Inbox(this.#session, (frame) => this.#receive(frame));
    this.#outbox = new Outbox(this.#session);
    this.lastHeardMs = host.nowMs;
    this.#lastKeepaliveMs = host.nowMs;
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    setOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES);
    host.watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
  }

  /** Frames may be sent: HELLO has come and was accepted. */
  get up(): boolean {
    return this.peer !== null && !this.#closed;
  }

  /** Two signs of life are missing: the peer may be gone. */
  get isSilent(): boolean {
    return this.#host.nowMs - this.lastHeardMs > SILENT_MS;
  }

  get queuedBytes(): number {
    return this.#outbox.bytesQueued;
  }

  /** Takes an id for a conversation that begins here. */
  openConversation(conversation: Conversation): number {
    let id = this.#nextId;
    while (this.#conversations.has(id)) id = (id + 2) >>> 0 || (this.role === 'dial' ? 1 : 2);
    this.#nextId = (id + 2) >>> 0 || 2;
    this.#conversations.set(id, conversation);
    return id;
  }

  /** Makes `conversation` the taker of frames with an id that the peer has opened. */
  takeConversation(id: number, conversation: Conversation): void {
    this.#conversations.set(id, conversation);
  }

  /** The conversation of that id; null when there is none. */
  conversationOf(id: number): Conversation | null {
    return this.#conversations.get(id) ?? null;
  }

  closeConversation(id: number): void {
    this.#conversations.delete(id);
  }

  get conversations(): number {
    return this.#conversations.size;
  }

  /** Queues a frame; false when the link is down or too far behind: fall back. */
  send(frame: Frame): boolean {
    if (this.#closed) return false;
    if (this.#outbox.push(frame)) {
      this.#host.count('frames_sent', 1);
      return true;
    }
    // Without it the two ends would go on with two ideas of what there is. Not at once: somebody is at work.
    if (this.up && !isBulk(frame)) this.#overrun = true;
    return false;
  }

  /** Hands everything queued to the kernel, as far as it takes it. */
  flush(): void {
    if (this.#closed) return;
    if (this.#overrun) return this.close('the peer takes nothing', false);
    try {
      this.#outbox.flush();
    } catch (error) {
      this.close(describe(error), false);
      return;
    }
    const { storage } = this.#outbox;
    if (this.#storage.of !== storage) this.#storage = { of: storage, address: addressOf(storage) };
    while (this.#outbox.pendingBytes > 0) {
      const sent = libc.send(
        this.fd,
        this.#storage.address + this.#outbox.start,
        this.#outbox.pendingBytes,
        MSG_NOSIGNAL,
      );
      if (sent < 0) {
        const errno = lastErrno();
        if (errno !== EAGAIN && errno !== EINTR) this.close(new SystemError('send', errno).message, false);
        return;
      }
      this.#outbox.consume(sent);
      this.#host.count('backplane_bytes_sent', sent);
    }
  }

  ready(events: number): void {
    if (this.#closed) return;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (events & EPOLLIN) === 0) {
      this.close(new SystemError('connect', pendingError(this.fd)).message, false);
      return;
    }
    if ((events & EPOLLIN) !== 0) this.#read();
    // What blocked, or the greeting of a connection just made; settle() flushes the rest.
    if ((events & EPOLLOUT) !== 0) this.flush();
  }

  #read(): void {
    const buffer = this.#host.linkReceiveBuffer;
    while (!this.#closed) {
      const got = libc.recv(this.fd, this.#host.linkReceiveAddress, buffer.length, 0);
      if (got < 0) {
        const errno = lastErrno();
        if (errno !== EAGAIN && errno !== EINTR) this.close(new SystemError('recv', errno).message, false);
        return;
      }
      try {
        if (got === 0) {
          this.#inbox.end();
          this.close('closed by the peer', true);
          return;
        }
        this.lastHeardMs = this.#host.nowMs;
        this.#host.count('backplane_bytes_received', got);
        this.#inbox.receive(buffer, 0, got);
        this.stage = this.#session.state;
        this.#greet();
      } catch (error) {
        if (error instanceof FrameError) return this.protocolError(describe(error));
        // A fault in a handler is ours, not the peer's: it must not pass for a broken link.
        if (!(error instanceof SessionError)) throw error;
        return this.close(describe(error), false);
      }
      if (got < buffer.length) return;
    }
  }

  #greet(): void {
    if (this.#helloSent || this.#session.state !== 'OPEN') return;
    this.#helloSent = true;
    this.send(this.#host.hello());
  }

  #receive(frame: Frame): void {
    this.#host.count('frames_received', 1);
    if (frame.type === FrameType.HELLO) {
      if (this.peer !== null) return this.protocolError('HELLO twice');
      if (frame.protocol !== PROTOCOL_VERSION)
        return this.close(`another protocol: ${frame.protocol}, here ${PROTOCOL_VERSION}`, false);
      this.clock.excessMs(frame.clockMs, monotonicMs());
      this.#greet();
      const hello = { ...frame, mac: Buffer.from(frame.mac), bootId: Buffer.from(frame.bootId) };
      const objection = this.#host.linkUp(this, hello);
      if (objection !== null) this.close(objection, false);
      return;
    }
    if (this.peer === null) return this.protocolError('a frame before HELLO');
    if (frame.type === FrameType.KEEPALIVE) {
      this.clock.excessMs(frame.sentAtMs, monotonicMs());
      this.#lastPeerMs = frame.sentAtMs;
      this.#lastPeerAtMs = this.#host.nowMs;
      return;
    }
    if (!maySend(this.role === 'dial' ? 'accept' : 'dial', frame))
      return this.protocolError(`a frame of type ${frame.type} from the wrong end of its conversation`);
    const opens = frame.type === FrameType.SETUP || frame.type === FrameType.MIGRATE;
    const conversation = 'request' in frame && !opens ? this.#conversations.get(frame.request) : undefined;
    if (conversation !== undefined) conversation.frame(frame, this);
    else this.#host.open(this, frame);
  }

  /**
   * The peer has sent what no peer of ours sends. Closes the link, and with it all conversations on it, the one that is
   * being handled too: the last thing that a handler does.
   */
  protocolError(what: string): void {
    if (this.#closed) return;
    this.#host.count('frames_refused', 1);
    this.close(`protocol error: ${what}`, false);
  }

  /** Signs of life; closes the link when the peer has given none for `peerMs`, or is not up by then. */
  tick(peerMs: number): void {
    if (this.#closed) return;
    const now = this.#host.nowMs;
    // A handshake has its time as a whole, however often a piece of it comes.
    const silentMs = now - (this.up ? this.lastHeardMs : this.#openedMs);
    if (silentMs > peerMs) {
      this.close(this.up ? `silent for ${Math.round(silentMs)} ms` : 'silent in the handshake', false);
    } else if (this.up && now - this.#lastKeepaliveMs >= KEEPALIVE_MS) {
      // Sent on a busy link as well: how late a SETUP comes is measured by it.
      this.#lastKeepaliveMs = now;
      this.send({
        type: FrameType.KEEPALIVE,
        sentAtMs: monotonicMs() >>> 0,
        echoMs: this.#lastPeerMs,
        heldMs: this.#lastPeerMs === 0 ? 0 : Math.floor(now - this.#lastPeerAtMs) >>> 0,
      });
    }
  }

  /** Ends the link on purpose: the peer sees an end, not a cut. */
  end(): void {
    if (this.#closed) return;
    if (this.#session.state === 'OPEN') {
      this.#outbox.flushEnd();
      this.flush();
    }
    this.close('ended here', true);
  }

  close(reason: string, expected: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.close();
    this.#host.forget(this.fd);
    libc.close(this.fd);
    this.#host.linkClosed(this, reason, expected);
    const conversations = this.#conversations.all;
    this.#conversations.clear();
    for (const conversation of new Set(conversations)) conversation.linkDown(this);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
