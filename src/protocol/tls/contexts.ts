/**
 * What handshakes are made with: OpenSSL's contexts, one for each site with certificates, and which of them a client
 * gets by the name that it asks for (RFC 6066 section 3). They are made anew when certificates change; handshakes in
 * progress keep those that they began with.
 */
import assert from 'node:assert';
import type { TlsVersion } from '../../base/config/config.ts';
import { addressOf, allocate, type Memory } from '../../kernel/linux/memory.ts';
import {
  CTRL_CHAIN_CERT,
  CTRL_SET_GROUPS_LIST,
  CTRL_SET_MIN_PROTO_VERSION,
  CTRL_SET_SESS_CACHE_MODE,
  openssl,
  SSL_OP_CIPHER_SERVER_PREFERENCE,
  SSL_OP_NO_RENEGOTIATION,
  SSL_OP_PRIORITIZE_CHACHA,
  TLS1_2,
  TLS1_3,
} from '../../kernel/linux/openssl.ts';
import { suiteNames } from './suites.ts';
import { TICKET_SECONDS } from './ticket-keys.ts';

/** Those of finite fields would cost the server as much as somebody likes. */
const GROUPS = textInMemory('X25519:P-256:P-384');
const SESSION_CONTEXT = 'baton';

/** As C has it: with a zero at its end. */
function textInMemory(text: string): Memory {
  const memory = allocate(text.length + 1);
  memory.bytes.write(text, 'latin1');
  return memory;
}

/** A certificate with its chain, and its key: PEM. */
export interface CertificatePair {
  readonly chain: Uint8Array;
  readonly key: Uint8Array;
}

/** What one site shows to those who ask for its hosts. */
export interface Credentials {
  readonly site: string;
  /** Exact names, `*.DOMAIN`, or `*`. */
  readonly hosts: readonly string[];
  /** What a client must speak at least. */
  readonly minVersion: TlsVersion;
  /** One of each kind of key; null: those that the site had before. */
  readonly pairs: readonly CertificatePair[] | null;
}

/** OpenSSL cannot use what it was given. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
  readonly code: 'CERTIFICATE' | 'KEY' | 'OPENSSL';

  constructor(code: CertificateError['code'], detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

/** No passphrase: without one OpenSSL would ask whoever is at the terminal. */
const NO_PASSPHRASE = allocate(1);

/** Calls `use` with a memory BIO over a copy of the bytes, and wipes that. */
function reading<T>(bytes: Uint8Array, use: (bio: number) => T): T {
  const { newMemoryBio, freeBio } = openssl();
  const copy = Buffer.from(bytes);
  const bio = newMemoryBio(addressOf(copy), copy.length);
  try {
    return use(bio);
  } finally {
    freeBio(bio);
    copy.fill(0);
  }
}

function useChain(context: number, pem: Uint8Array): void {
  const ssl = openssl();
  reading(pem, (bio) => {
    for (let first = true; ; first = false) {
      const certificate = ssl.readCertificate(bio, 0, 0, NO_PASSPHRASE.address);
      if (certificate === 0) {
        if (first) throw new CertificateError('CERTIFICATE', 'it holds no certificate');
        return;
      }
      // Both take a reference of their own.
      const used = first
        ? ssl.useCertificate(context, certificate)
        : ssl.control(context, CTRL_CHAIN_CERT, 1, certificate);
      ssl.freeCertificate(certificate);
      if (used !== 1) throw new CertificateError('CERTIFICATE', 'OpenSSL refuses it');
    }
  });
}

function useKey(context: number, pem: Uint8Array): void {
  const ssl = openssl();
  const key = reading(pem, (bio) => ssl.readKey(bio, 0, 0, NO_PASSPHRASE.address));
  if (key === 0) throw new CertificateError('KEY', 'it is no private key, or one with a passphrase');
  const used = ssl.useKey(context, key) === 1 && ssl.checkKey(context) === 1;
  ssl.freeKey(key);
  if (!used) throw new CertificateError('KEY', 'it is not the key of the certificate');
}

function newContext(): number {
  const ssl = openssl();
  const context = ssl.newContext(ssl.serverMethod());
  if (context === 0) throw new CertificateError('OPENSSL', 'no context can be made');
  ssl.control(context, CTRL_SET_MIN_PROTO_VERSION, TLS1_2, 0);
  // Sessions are in their tickets alone: any node can resume them.
  ssl.control(context, CTRL_SET_SESS_CACHE_MODE, 0, 0);
  ssl.setOptions(
    context,
    SSL_OP_CIPHER_SERVER_PREFERENCE + SSL_OP_PRIORITIZE_CHACHA + SSL_OP_NO_RENEGOTIATION,
  );
  ssl.setCiphersuites(context, suiteNames('TLSv1.3'));
  ssl.setCipherList(context, suiteNames('TLSv1.2'));
  ssl.control(context, CTRL_SET_GROUPS_LIST, 0, GROUPS.address);
  ssl.setTimeout(context, TICKET_SECONDS);
  ssl.setMaxEarlyData(context, 0);
  ssl.setSessionIdContext(context, SESSION_CONTEXT, SESSION_CONTEXT.length);
  return context;
}

/** How a context is told what to call back. */
export type Prepare = (context: number, isFirst: boolean) => void;

export class TlsContexts {
  /** The one that every handshake begins with: it has no certificate. */
  readonly first: number;
  readonly #exact = new Map<string, number>();
  readonly #suffixes = new Map<string, number>();
  #fallback: number | null = null;
  readonly #all: number[] = [];
  readonly #bySite = new Map<string, number>();
  /** Those for TLS 1.3 alone. */
  readonly #strict = new Set<number>();
  /** Handshakes in progress with them. */
  #uses = 0;
  #isRetired = false;

  /** `before`: those in whose place they come. Throws CertificateError. */
  constructor(sites: readonly Credentials[], prepare: Prepare, before: TlsContexts | null) {
    this.first = this.#make(prepare, true);
    try {
      for (const one of sites) this.#add(one, this.#contextOf(one, prepare, before));
    } catch (error) {
      this.retire();
      throw error;
    } finally {
      openssl().clearErrors();
    }
  }

  #make(prepare: Prepare, isFirst: boolean): number {
    const context = newContext();
    this.#all.push(context);
    prepare(context, isFirst);
    return context;
  }

  #contextOf({ site, pairs }: Credentials, prepare: Prepare, before: TlsContexts | null): number {
    const ssl = openssl();
    if (pairs === null) {
      const context = before === null ? undefined : before.#bySite.get(site);
      if (context === undefined) throw new CertificateError('CERTIFICATE', `site ${site} had none before`);
      ssl.referContext(context);
      this.#all.push(context);
      return context;
    }
    const context = this.#make(prepare, false);
    for (const { chain, key } of pairs) {
      useChain(context, chain);
      useKey(context, key);
    }
    return context;
  }

  #add({ site, hosts, minVersion }: Credentials, context: number): void {
    this.#bySite.set(site, context);
    if (minVersion === 'TLSv1.3') this.#strict.add(context);
    for (const host of hosts) {
      const name = host.replace(/(.)\.$/, '$1');
      if (name === '*') this.#fallback = context;
      else if (name.startsWith('*.')) this.#suffixes.set(name.slice(1), context);
      else this.#exact.set(name, context);
    }
  }

  /** The context of a name; of none: the one for any host. Null: there is none. */
  find(serverName: string | null): number | null {
    if (serverName === null) return this.#fallback;
    const name = serverName.toLowerCase();
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const found = this.#suffixes.get(name.slice(dot));
      if (found !== undefined) return found;
    }
    return this.#fallback;
  }

  /** Whether that version is enough for a context's site. */
  allows(context: number, version: number): boolean {
    return version >= TLS1_3 || !this.#strict.has(context);
  }

  /** A handshake begins with them. */
  use(): void {
    assert(!this.#isRetired, 'others have taken their place');
    this.#uses++;
  }

  unuse(): void {
    this.#uses--;
    this.#free();
  }

  /** No handshake begins with them any more. */
  retire(): void {
    this.#isRetired = true;
    this.#free();
  }

  #free(): void {
    if (!this.#isRetired || this.#uses > 0) return;
    for (const context of this.#all.splice(0)) openssl().freeContext(context);
  }
}
