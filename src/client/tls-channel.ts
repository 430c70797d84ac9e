/**
 * A client's connection over TLS, behind the handshake. What comes is opened and what goes is sealed here; what else TLS
 * has to say goes between two records of a response: KeyUpdate (RFC 8446 4.6.3), and alerts (6).
 */
import type { Count } from '../base/counters.ts';
import type { MovingResponse } from '../handoff/move/movable.ts';
import type { ArrivedResponse } from '../handoff/move/move-ports.ts';
import { isHeadOut } from '../handoff/move/moved-records.ts';
import { allocate, type Memory } from '../kernel/linux/memory.ts';
import { MAX_HELD_BYTES, type MovedResponse } from '../protocol/backplane/frames.ts';
import type { FilePart } from '../protocol/http/reply.ts';
import { Alert, alertContent, TlsError } from '../protocol/tls/alerts.ts';
import { ReadHalf } from '../protocol/tls/read-half.ts';
import { type Layout, recordCount, type SentRecords } from '../protocol/tls/record-layout.ts';
import { ContentType, MAX_RECORD_BYTES } from '../protocol/tls/records.ts';
import type { TlsSession } from '../protocol/tls/session.ts';
import type { Suite } from '../protocol/tls/suites.ts';
import { WriteHalf } from '../protocol/tls/write-half.ts';
import { type Behind, BROKEN, type ByteSink } from '../serve/byte-sink.ts';
import { SealedSink } from '../serve/sealed-sink.ts';
import type { Channel, TlsFacts } from './channel.ts';
import { type ClientSockets, EMPTY, FAILED } from './sockets.ts';

const NOTHING = Buffer.alloc(0);
/** No node has that index. */
const NOBODY = -1;
/** Less than what it is opened into has room for: one record may have waited for its rest. */
const SEALED_BYTES = 128 * 1024;
/** What was read last, of whichever connection. */
const sealed = allocate(SEALED_BYTES);

export class TlsChannel implements Channel {
  readonly fd: number;
  readonly tls: TlsFacts;
  readonly #sockets: ClientSockets;
  readonly #count: Count;
  readonly #suite: Suite;
  /** What one node seals another's key does not open. */
  readonly #rekeys: boolean;
  /** Opened elsewhere, and not used. */
  #held: Buffer;
  readonly #read: ReadHalf;
  readonly half: WriteHalf;
  readonly #socket: ByteSink;
  isDrained = false;
  /** The socket was empty when the handshake had ended. */
  #beginsDrained = false;
  /** What came behind the client's Finished was looked at. */
  #hasBegun = false;
  /** The client has said that it sends nothing more. */
  #hasEnded = false;
  /** Sealed, and not taken by the socket: what TLS says. */
  #waiting: Buffer = NOTHING;
  /** The next record is to tell of another key. */
  #isUpdateDue = false;
  /** Has this node's socket send next; false: what another node sends is not over. */
  #claimsOut: () => boolean = () => true;
  /** What sent last: it may hold the rest of a record. */
  #last: ResponseSink | null = null;

  /** Takes the secrets of `session` over. `response`: the connection comes in the middle of it. */
  constructor(
    fd: number,
    sockets: ClientSockets,
    session: TlsSession,
    count: Count,
    rekeys: boolean,
    response: ArrivedResponse | null,
  ) {
    const { suite, resumed, clientSecret, serverSecret, clientRecord, serverRecord, behind, held } = session;
    this.fd = fd;
    this.tls = { version: suite.version, suite: suite.name, resumed };
    this.#suite = suite;
    this.#sockets = sockets;
    this.#count = count;
    this.#rekeys = rekeys;
    this.#socket = sockets.out(fd, 'anyone');
    const half = { suite, secret: clientSecret, number: clientRecord };
    this.#read = new ReadHalf({ half, rest: behind });
    const bound = serverRecord + (response === null ? 0 : recordCount(response.exchange.layout!));
    this.half = new WriteHalf({ suite, secret: serverSecret, number: serverRecord }, response?.cut, bound);
    this.#held = held;
  }

  /** Goes on behind a handshake. `owed`: tickets, to be sent before anything else. `isDrained`: the socket is empty. */
  goOn(owed: Buffer, isDrained: boolean): void {
    this.#waiting = owed;
    this.#beginsDrained = isDrained;
  }

  receive(into: Memory, taken: (bytes: number) => void): number {
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      this.isDrained = this.#beginsDrained;
      const got = this.#open(into.bytes, this.#held.copy(into.bytes));
      this.#held = NOTHING;
      // The client's end is told by the next read.
      if (this.#hasEnded) this.isDrained = false;
      if (got !== 0) return got;
      if (this.isDrained) return EMPTY;
    }
    for (;;) {
      if (this.#hasEnded) return 0;
      const got = this.#sockets.receive(this.fd, sealed);
      this.isDrained = got < SEALED_BYTES;
      // FIN without close_notify ends the connection as well: a request says itself how long it is.
      if (got <= 0) return got;
      taken(got);
      this.#read.push(sealed.bytes.subarray(0, got));
      const opened = this.#open(into.bytes, 0);
      // The client's end is told by the next read, and no event.
      if (this.#hasEnded) this.isDrained = false;
      if (opened !== 0) return opened;
    }
  }

  /** Opens what there is to `into[from]`. Returns where it ends, or FAILED. */
  #open(into: Buffer, from: number): number {
    let at = from;
    try {
      for (let next = this.#read.next(); next !== null; next = this.#read.next()) {
        if (next.kind === 'data') at += next.bytes.copy(into, at);
        else if (next.kind === 'key-update') this.#isUpdateDue ||= next.asks;
        else if (next.kind === 'end') this.#hasEnded = true;
        else return FAILED;
      }
    } catch (error) {
      if (!(error instanceof TlsError)) throw error;
      this.#count.add('tls_records_refused');
      this.#say(error.alert);
      return FAILED;
    }
    // If not now, it is sent before the next response.
    if (this.#isUpdateDue) this.#maySpeak();
    return at;
  }

  get unreadBytes(): number {
    return this.#sockets.unreadBytes(this.fd);
  }

  out(behind: Behind, layout: Layout | null): ByteSink {
    const socket = behind === 'end' ? this.#sockets.out(this.fd, behind) : this.#socket;
    const sealed = new SealedSink(socket, this.half, layout);
    const sink = new ResponseSink(sealed, () => this.#goAhead(sink));
    return sink;
  }

  /** `claimsOut`: asked before anything is said that is no response's. */
  speaksBy(claimsOut: () => boolean): void {
    this.#claimsOut = claimsOut;
  }

  mayLend(node: number): boolean {
    // TLS 1.2 has one key for the whole connection: every node gets it, or none.
    if (!this.#maySpeak() || (this.#rekeys && this.#suite.version === 'TLSv1.2')) return false;
    this.#rekey(node);
    return this.#maySpeak();
  }

  /** Changes the key when `node` is to get it and another node has sealed by it. */
  #rekey(node: number): void {
    const { version } = this.#suite;
    if (this.#rekeys && version === 'TLSv1.3') this.#isUpdateDue ||= this.half.isForeignTo(node);
  }

  /** Nothing waits here, and what TLS has to say is said. */
  #maySpeak(): boolean {
    if (!this.half.isHere || (this.#last?.flush() ?? 0) < 0) return false;
    return !this.#hasToSpeak || (this.#claimsOut() && this.#speak(false) === 0);
  }

  mayMove(held: Buffer, isInResponse: boolean): boolean {
    const isSmall =
      this.#held.length + held.length <= MAX_HELD_BYTES && this.#read.restBytes < MAX_RECORD_BYTES;
    if (!isSmall || !this.#read.isMovable) return false;
    // What of it waits here is sealed once more elsewhere. A key that changed in its middle would move the numbers.
    if (isInResponse) return !this.#isUpdateDue && this.#waiting.length === 0;
    if (!this.#hasBegun || !this.#maySpeak()) return false;
    this.#rekey(NOBODY);
    return this.#maySpeak() && !this.half.isBound;
  }

  moving(response: MovedResponse | null): MovingResponse | null {
    if (response === null || !this.half.isHere) return null;
    const records = this.#last?.sent ?? null;
    return records !== null && isHeadOut(response.continuation, records, this.#suite)
      ? { ...response, records }
      : null;
  }

  session(held: Buffer): TlsSession {
    const read = this.#read.state;
    const write = this.half.state;
    return {
      suite: this.#suite,
      resumed: this.tls.resumed,
      clientSecret: read.half.secret,
      serverSecret: write.secret,
      clientRecord: read.half.number,
      serverRecord: write.number,
      behind: read.rest,
      held: Buffer.concat([this.#held, held]),
    };
  }

  /** Something is to be said before the next record of a response. */
  get #hasToSpeak(): boolean {
    // Inside a response that another node has begun nothing else may be sealed.
    if (this.half.isBound) return false;
    return this.#isUpdateDue || this.half.isUpdateDue || this.#waiting.length > 0;
  }

  /** Nothing of another response is in the way, and what TLS has to say first is said. */
  #goAhead(sink: ResponseSink): number {
    if (this.#last !== sink) {
      const left = this.#last?.flush() ?? 0;
      if (left < 0) return left;
      this.#last = sink;
    }
    if (this.#rekeys && this.half.isShared) this.#isUpdateDue = true;
    if (!this.#hasToSpeak) return 0;
    const left = sink.flush();
    return left < 0 ? left : this.#speak(true);
  }

  /** Says what TLS has to say; only where a record may begin. `more`: a record of a response follows at once. */
  #speak(more: boolean): number {
    if (this.#isUpdateDue || this.half.isUpdateDue) {
      this.#isUpdateDue = false;
      this.#count.add('tls_key_updates');
      this.#waiting = Buffer.concat([this.#waiting, this.half.update(false)]);
    }
    return this.#pass(more);
  }

  /** Passes on what waits. */
  #pass(more: boolean): number {
    while (this.#waiting.length > 0) {
      const sent = this.#socket.send(this.#waiting, 0, more, !more);
      if (sent < 0) return sent;
      this.#waiting = this.#waiting.subarray(sent);
    }
    return 0;
  }

  flush(): boolean {
    const left = this.#last?.flush() ?? 0;
    return (left < 0 ? left : this.#pass(false)) !== BROKEN;
  }

  /** The last record, unless the client does not take what comes before. */
  #say(alert: Alert, more = false): void {
    if (!this.half.isHere || this.half.isBound || (this.#last?.flush() ?? 0) < 0 || !this.#claimsOut())
      return;
    if (this.#pass(true) < 0) return;
    this.#waiting = this.half.seal(alertContent(alert), ContentType.ALERT);
    this.#pass(more);
  }

  end(atOnce: boolean): void {
    this.#say(Alert.CLOSE_NOTIFY, atOnce);
  }

  shut(): void {
    this.end(true);
    this.#sockets.shut(this.fd);
  }

  forget(): void {
    this.#read.wipe();
    this.half.wipe();
  }
}

/** Where one response goes, or what the connection says by itself. */
class ResponseSink implements ByteSink {
  readonly #sink: SealedSink;
  readonly #goAhead: () => number;

  /** `goAhead`: called where a record may begin; below 0: not now. */
  constructor(sink: SealedSink, goAhead: () => number) {
    this.#sink = sink;
    this.#goAhead = goAhead;
  }

  send(bytes: Buffer, from: number, more: boolean, last: boolean): number {
    const ready = this.#goAhead();
    return ready < 0 ? ready : this.#sink.send(bytes, from, more, last);
  }

  sendFile(fd: number, offset: number, length: number, last: boolean, state: FilePart['state']): number {
    const ready = this.#goAhead();
    return ready < 0 ? ready : this.#sink.sendFile(fd, offset, length, last, state);
  }

  flush(): number {
    return this.#sink.flush();
  }

  get sent(): SentRecords | null {
    return this.#sink.sent;
  }
}
