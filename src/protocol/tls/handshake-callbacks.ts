/**
 * What OpenSSL asks and tells in the middle of a handshake: which certificate to show, whether HTTP is spoken, by which
 * key a ticket is sealed, and the secrets. It calls back only from within SSL_accept, so there is one handshake at a time
 * that it can be about. Secrets never become strings, which nobody can wipe.
 */
import assert from 'node:assert';
import { digestOf } from '../../kernel/linux/hmac.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { openssl, TLSEXT_ALERT_FATAL, TLSEXT_OK } from '../../kernel/linux/openssl.ts';
import type { SecretName } from './handshake-secrets.ts';
import { HMAC_BYTES, type TicketKey } from './ticket-keys.ts';

/** What the handshake that is at work answers and takes. */
export interface Asked {
  /** The context for that name; null: there is none. */
  contextFor(serverName: string | null): number | null;
  /** Whether that version is enough for the context's site. */
  allows(context: number, version: number): boolean;
  /** Nothing that the client offers can be spoken here. */
  noProtocol(): void;
  ticketKey(): TicketKey;
  ticketKeyNamed(name: Buffer): TicketKey | null;
  secret(name: SecretName, secret: Buffer): void;
}

/** AlertDescription. */
const PROTOCOL_VERSION = 70;
const UNRECOGNIZED_NAME = 112;
const HTTP_1_1 = Buffer.from('\u0008http/1.1', 'latin1');
const NAME_BYTES = 16;
const IV_BYTES = 16;
const MAX_LINE_BYTES = 512;
const SPACE = 0x20;
const LINE = allocate(MAX_LINE_BYTES);
/** How many bytes of LINE hold secrets of the handshake at work. */
let lineBytes = 0;
/** The only ones that records need: of TLS 1.3, and of 1.2. Each label ends with the text that follows it. */
const WANTED: ReadonlyArray<{ readonly label: Buffer; readonly name: SecretName }> = [
  { label: Buffer.from('CLIENT_TRAFFIC_SECRET_0 ', 'latin1'), name: 'client' },
  { label: Buffer.from('SERVER_TRAFFIC_SECRET_0 ', 'latin1'), name: 'server' },
  { label: Buffer.from('CLIENT_RANDOM ', 'latin1'), name: 'master' },
];
/** Of a hexadecimal digit. */
const DIGITS = Uint8Array.from({ length: 128 }, (_, code) => digit(code));
const NAME = allocate(NAME_BYTES);
const LIST = allocate(256);
const POINTER = allocate(8);

let asked: Asked | null = null;
let thrown: unknown = null;

/** Has OpenSSL go on with a handshake; what a callback throws comes out here. Returns what SSL_accept does. */
export function accept(handshake: Asked, session: number): number {
  assert(asked === null, 'one handshake at a time');
  asked = handshake;
  thrown = null;
  try {
    const result = openssl().accept(session);
    if (thrown !== null) throw thrown;
    return result;
  } finally {
    asked = null;
    if (lineBytes > 0) LINE.bytes.fill(0, 0, lineBytes);
    lineBytes = 0;
  }
}

/** No exception may pass through C. */
function guarded(fallback: number, answer: (handshake: Asked) => number): number {
  try {
    assert(asked !== null, 'a handshake is at work');
    return answer(asked);
  } catch (error) {
    thrown ??= error;
    return fallback;
  }
}

function keylog(_session: number, line: number): void {
  guarded(0, (handshake) => {
    const length = Math.min(openssl().copyText(LINE.address, line, MAX_LINE_BYTES), MAX_LINE_BYTES - 1);
    const { bytes } = LINE;
    lineBytes = Math.max(lineBytes, length);
    for (const { label, name } of WANTED) {
      if (!beginsWith(bytes, label)) continue;
      let from = length;
      while (bytes[from - 1] !== SPACE) from--;
      const secret = Buffer.allocUnsafe((length - from) >> 1);
      for (let i = 0, at = from; i < secret.length; i++, at += 2)
        secret[i] = (DIGITS[bytes[at]] << 4) | DIGITS[bytes[at + 1]];
      handshake.secret(name, secret);
    }
    return 0;
  });
}

function beginsWith(bytes: Uint8Array, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[i] !== text[i]) return false;
  return true;
}

function digit(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}

function serverName(session: number, alert: number): number {
  return guarded(TLSEXT_ALERT_FATAL, (handshake) => {
    const ssl = openssl();
    const context = handshake.contextFor(ssl.serverName(session, 0));
    const isKnown = context !== null;
    if (isKnown && handshake.allows(context, ssl.versionOf(session)))
      return ssl.switchContext(session, context) === context ? TLSEXT_OK : TLSEXT_ALERT_FATAL;
    POINTER.view.setInt32(0, isKnown ? PROTOCOL_VERSION : UNRECOGNIZED_NAME, true);
    libc.memcpy(alert, POINTER.address, 4);
    return TLSEXT_ALERT_FATAL;
  });
}

function alpn(_session: number, out: number, outBytes: number, list: number, listBytes: number): number {
  return guarded(TLSEXT_ALERT_FATAL, (handshake) => {
    let at = 0;
    while (at < listBytes) {
      // A length and a name of at most 255 bytes.
      const some = Math.min(listBytes - at, LIST.bytes.length);
      libc.memcpy(LIST.address, list + at, some);
      const length = 1 + LIST.bytes[0];
      if (LIST.bytes.subarray(0, Math.min(length, some)).equals(HTTP_1_1)) {
        POINTER.view.setBigUint64(0, BigInt(list + at + 1), true);
        libc.memcpy(out, POINTER.address, 8);
        POINTER.bytes[0] = length - 1;
        libc.memcpy(outBytes, POINTER.address, 1);
        return TLSEXT_OK;
      }
      at += length;
    }
    handshake.noProtocol();
    return TLSEXT_ALERT_FATAL;
  });
}

let foundCipher = 0;

function ticketCipher(): number {
  if (foundCipher === 0) foundCipher = openssl().fetchCipher(0, 'AES-256-CBC', 0);
  return foundCipher;
}

function ticketKey(
  _session: number,
  name: number,
  iv: number,
  cipher: number,
  hmac: number,
  isNew: number,
): number {
  return guarded(-1, (handshake) => {
    let key: TicketKey | null;
    if (isNew === 1) {
      key = handshake.ticketKey();
      libc.memcpy(name, key.nameAt, NAME_BYTES);
      if (openssl().random(iv, IV_BYTES) !== 1) return -1;
    } else {
      libc.memcpy(NAME.address, name, NAME_BYTES);
      key = handshake.ticketKeyNamed(NAME.bytes);
      // An unknown ticket: the handshake is a full one.
      if (key === null) return 0;
    }
    const { cipherInit, hmacInit } = openssl();
    const ok =
      hmacInit(hmac, key.hmacAt, HMAC_BYTES, digestOf('sha256'), 0) === 1 &&
      cipherInit(cipher, ticketCipher(), 0, key.cipherAt, iv, isNew) === 1;
    if (!ok) return -1;
    // A ticket is good for one connection, so that nobody can follow a client by it: it gets another.
    return isNew === 1 ? 1 : 2;
  });
}

/** Has a context call back. `isFirst`: every handshake begins with it. */
export function prepare(context: number, isFirst: boolean): void {
  const ssl = openssl();
  ssl.onKeylog(context, keylog);
  ssl.onAlpn(context, alpn);
  if (!isFirst) return;
  ssl.onServerName(context, serverName);
  ssl.onTicketKey(context, ticketKey);
}
