/**
 * The server's side of a TLS handshake (RFC 8446 section 4; RFC 5246 section 7), by OpenSSL over memory: bytes in,
 * bytes out. OpenSSL gets whole records, and none behind the client's Finished: from there on records are ours.
 *
 *   going --the client's Finished--> done     the result is there, once
 *     `--an alert, what no client sends--> failed     what is left to be sent is the alert
 */
import assert from 'node:assert';
import { addressOf, allocate } from '../../kernel/linux/memory.ts';
import { openssl, SSL_ERROR_WANT_READ } from '../../kernel/linux/openssl.ts';
import { CertificateError, type Credentials, TlsContexts } from './contexts.ts';
import { type Asked, accept, prepare } from './handshake-callbacks.ts';
import { CHANGE_CIPHER_SPEC, type Halves, HandshakeSecrets, type SecretName } from './handshake-secrets.ts';
import { ContentType } from './records.ts';
import { RECORD_HEADER_BYTES, type Suite, suiteOf } from './suites.ts';
import { type TicketKey, TicketKeys } from './ticket-keys.ts';

/** What a client may send before it is done; a hello with the largest keys has a few KiB. */
export const MAX_HANDSHAKE_BYTES = 64 * 1024;

/** RFC 8446 5.1, 5.2. */
const MAX_RECORD_BYTES = 16384 + 256;
const VERSION_MAJOR = 3;
const CHANGE_CIPHER_SPEC_BYTES = RECORD_HEADER_BYTES + 1;
/** A fatal alert in the clear: unexpected_message (6.2). */
const UNEXPECTED_MESSAGE = Buffer.from([21, 3, 3, 0, 2, 2, 10]);
const NOTHING = Buffer.alloc(0);

/** Reasons of OpenSSL's error queue (include/openssl/sslerr.h). */
const REASON_MASK = 0x7fffff;
const CLIENT_ALERT = 1000;
const MAX_ALERT = 255;
const NOTHING_IN_COMMON: readonly number[] = [
  101, // no suitable key share
  118, // no suitable signature algorithm
  193, // no shared cipher
  235, // no application protocol
  258, // unsupported protocol
  376, // no shared signature algorithms
];

/** Why a handshake has failed. `plain`: HTTP without TLS; `alert`: the client has said so. */
export type HandshakeFailure = 'plain' | 'garbage' | 'name' | 'common' | 'alert' | 'broken';

/** What goes on when a handshake is done. Whoever takes it wipes the secrets after use. */
export interface HandshakeResult extends Halves {
  readonly suite: Suite;
  /** What the client has asked for by name. */
  readonly serverName: string | null;
  /** By a ticket. */
  readonly resumed: boolean;
  /** What came behind the client's Finished. */
  readonly behind: Buffer;
}

/** Makes the handshakes of a server. */
export class TlsAcceptor {
  readonly #tickets: TicketKeys;
  readonly #clock: { readonly wallMs: number };
  #contexts: TlsContexts;

  /** Throws CertificateError. `wallMs`: the time of day. */
  constructor(sites: readonly Credentials[], clusterKey: Buffer, clock: { readonly wallMs: number }) {
    this.#tickets = new TicketKeys(clusterKey);
    this.#clock = clock;
    this.#contexts = new TlsContexts(sites, prepare, null);
  }

  /** Other certificates, from the next handshake on. Why they cannot be used: then those before stay. */
  use(sites: readonly Credentials[]): CertificateError | null {
    try {
      const contexts = new TlsContexts(sites, prepare, this.#contexts);
      this.#contexts.retire();
      this.#contexts = contexts;
      return null;
    } catch (error) {
      if (error instanceof CertificateError) return error;
      throw error;
    }
  }

  begin(): Handshake {
    return new Handshake(this.#contexts, this.#tickets, this.#clock);
  }

  close(): void {
    this.#contexts.retire();
  }
}

const OUTPUT = allocate(16 * 1024);

export class Handshake implements Asked {
  readonly #contexts: TlsContexts;
  readonly #tickets: TicketKeys;
  readonly #clock: { readonly wallMs: number };
  /** OpenSSL's; 0 before the first record, and when it is over. */
  #session = 0;
  #input = 0;
  #output = 0;
  /** The beginning of a record. */
  #held: Buffer = NOTHING;
  #taken = 0;
  #failure: HandshakeFailure | null = null;
  #result: HandshakeResult | null = null;
  #isOver = false;
  #serverName: string | null = null;
  /** Why it is to fail, as far as a callback knows. */
  #why: HandshakeFailure | null = null;
  readonly #secrets = new HandshakeSecrets();
  /** The last that OpenSSL has said. */
  #flight: Buffer = NOTHING;

  constructor(contexts: TlsContexts, tickets: TicketKeys, clock: { readonly wallMs: number }) {
    this.#contexts = contexts;
    this.#tickets = tickets;
    this.#clock = clock;
    contexts.use();
  }

  get state(): 'going' | 'done' | 'failed' {
    if (this.#failure !== null) return 'failed';
    return this.#isOver ? 'done' : 'going';
  }

  get failure(): HandshakeFailure | null {
    return this.#failure;
  }

  /** The client has sent something. */
  get hasBegun(): boolean {
    return this.#taken > 0;
  }

  /** Takes bytes [at, end), and returns what is to be sent. */
  take(bytes: Buffer, at: number, end: number): Buffer {
    assert(this.state === 'going', 'it is not over');
    const output: Buffer[] = [];
    this.#taken += end - at;
    if (this.#held.length > 0) {
      bytes = Buffer.concat([this.#held, bytes.subarray(at, end)]);
      at = 0;
      end = bytes.length;
    }
    this.#held = NOTHING;
    while (this.#failure === null && !this.#isOver) {
      const length = this.#recordBytes(bytes, at, end);
      if (length === 0) {
        if (this.#failure === null) this.#hold(bytes, at, end);
        break;
      }
      const answer = this.#record(bytes, at, length, end);
      if (answer.length > 0) output.push(answer);
      at += length;
    }
    if (this.#failure === 'garbage') output.push(UNEXPECTED_MESSAGE);
    return joined(output);
  }

  #hold(bytes: Buffer, at: number, end: number): void {
    if (this.#taken > MAX_HANDSHAKE_BYTES) this.#fail('broken');
    else this.#held = Buffer.from(bytes.subarray(at, end));
  }

  /** Bytes of the record that is there; 0 while it is not, or is none. */
  #recordBytes(bytes: Buffer, at: number, end: number): number {
    if (at === end) return 0;
    const type = bytes[at];
    if (this.#session === 0 && type !== ContentType.HANDSHAKE) {
      // A request's method begins with a letter, or with an empty line that some clients send first.
      const isText = (type >= 0x41 && type <= 0x5a) || (type >= 0x61 && type <= 0x7a) || type === 0x0d;
      this.#fail(isText ? 'plain' : 'garbage');
      return 0;
    }
    if (end - at < RECORD_HEADER_BYTES) return 0;
    const length = bytes.readUInt16BE(at + 3);
    const isRecord =
      type >= CHANGE_CIPHER_SPEC && type <= ContentType.APPLICATION_DATA && bytes[at + 1] === VERSION_MAJOR;
    if (!isRecord || length > MAX_RECORD_BYTES) {
      if (this.#session === 0) {
        this.#fail('garbage');
        return 0;
      }
      // OpenSSL refuses the header alone, by an alert that the client can read.
      return RECORD_HEADER_BYTES;
    }
    return end - at < RECORD_HEADER_BYTES + length ? 0 : RECORD_HEADER_BYTES + length;
  }

  #open(): void {
    const { newSession, newBio, memoryMethod, setBio } = openssl();
    this.#session = newSession(this.#contexts.first);
    this.#input = newBio(memoryMethod());
    this.#output = newBio(memoryMethod());
    assert(this.#session !== 0 && this.#input !== 0 && this.#output !== 0, 'there is memory');
    // From now on the session frees the two BIOs.
    setBio(this.#session, this.#input, this.#output);
  }

  /** Gives OpenSSL one record of the bytes up to `end`. Returns what it answers. */
  #record(bytes: Buffer, at: number, length: number, end: number): Buffer {
    const ssl = openssl();
    if (this.#session === 0) this.#open();
    ssl.bioWrite(this.#input, addressOf(bytes) + at, length);
    this.#secrets.received(bytes[at]);
    // Nothing answers ChangeCipherSpec: OpenSSL looks at it together with the record that follows.
    if (bytes[at] === CHANGE_CIPHER_SPEC && length === CHANGE_CIPHER_SPEC_BYTES) return NOTHING;
    ssl.clearErrors();
    const accepted = accept(this, this.#session);
    const output = this.#said();
    if (output.length > 0) this.#flight = output;
    if (accepted === 1) {
      this.#finish(output, bytes.subarray(at + length, end));
    } else if (ssl.errorOf(this.#session, accepted) !== SSL_ERROR_WANT_READ) {
      this.#fail(this.#why ?? kindOf(ssl.nextError()));
    } else if (length === RECORD_HEADER_BYTES && bytes.readUInt16BE(at + 3) > 0) {
      this.#fail('broken');
    }
    ssl.clearErrors();
    return output;
  }

  #said(): Buffer {
    const { bioRead } = openssl();
    const pieces: Buffer[] = [];
    for (let got = OUTPUT.bytes.length; got === OUTPUT.bytes.length; ) {
      got = bioRead(this.#output, OUTPUT.address, OUTPUT.bytes.length);
      if (got > 0) pieces.push(Buffer.from(OUTPUT.bytes.subarray(0, got)));
    }
    return joined(pieces);
  }

  /** `output`: what OpenSSL sends behind the client's Finished; `behind`: what the client does. */
  #finish(output: Buffer, behind: Buffer): void {
    const { suiteOf: idOf, cipherOf, isReused } = openssl();
    const suite = suiteOf(idOf(cipherOf(this.#session)));
    assert(suite !== undefined, 'one of those that were offered');
    const halves = this.#secrets.halves(this.#session, suite, this.#flight, output);
    if (halves === null) return this.#fail('broken');
    const { clientSecret, serverSecret, clientRecord, serverRecord } = halves;
    // Written field by field: with a spread V8 makes a new hidden class for each handshake.
    this.#result = {
      suite,
      clientSecret,
      serverSecret,
      clientRecord,
      serverRecord,
      serverName: this.#serverName,
      resumed: isReused(this.#session) === 1,
      behind: behind.length > 0 ? Buffer.from(behind) : NOTHING,
    };
    this.#end();
  }

  #fail(failure: HandshakeFailure): void {
    this.#failure = failure;
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#session !== 0) openssl().freeSession(this.#session);
    this.#session = 0;
    this.#held = NOTHING;
    this.#flight = NOTHING;
    this.#secrets.wipe();
    this.#contexts.unuse();
  }

  /** Whether bytes of the client came behind its Finished, so that the tickets may wait for the response to them. */
  get isFollowed(): boolean {
    const result = this.#result;
    return result !== null && result.suite.version === 'TLSv1.3' && result.behind.length > 0;
  }

  /** What it has come to, once: the taker has the secrets. */
  takeResult(): HandshakeResult {
    assert(this.#result !== null, 'it is done');
    const result = this.#result;
    this.#result = null;
    return result;
  }

  /** Given up: nothing of it is left. Idempotent. */
  cancel(): void {
    this.#end();
    this.#result?.clientSecret.fill(0);
    this.#result?.serverSecret.fill(0);
    this.#result = null;
  }

  contextFor(serverName: string | null): number | null {
    this.#serverName = serverName;
    const context = this.#contexts.find(serverName);
    if (context === null) this.#why = 'name';
    return context;
  }

  allows(context: number, version: number): boolean {
    const isEnough = this.#contexts.allows(context, version);
    if (!isEnough) this.#why = 'common';
    return isEnough;
  }

  noProtocol(): void {
    this.#why = 'common';
  }

  ticketKey(): TicketKey {
    return this.#tickets.current(this.#clock.wallMs);
  }

  ticketKeyNamed(name: Buffer): TicketKey | null {
    return this.#tickets.named(name, this.#clock.wallMs);
  }

  secret(name: SecretName, secret: Buffer): void {
    this.#secrets.tell(name, secret);
  }
}

function joined(pieces: readonly Buffer[]): Buffer {
  if (pieces.length === 0) return NOTHING;
  return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
}

function kindOf(error: number): HandshakeFailure {
  const reason = error & REASON_MASK;
  if (reason >= CLIENT_ALERT && reason <= CLIENT_ALERT + MAX_ALERT) return 'alert';
  return NOTHING_IN_COMMON.includes(reason) ? 'common' : 'broken';
}
