/**
 * The cipher suites that Baton speaks: of TLS 1.3 (RFC 8446, B.4) all but those with CCM; of TLS 1.2 the same ciphers
 * with keys that nobody can make again later (RFC 5288, RFC 5289, RFC 7905). How a record looks goes by its suite.
 */
import type { TlsVersion } from '../../base/config/config.ts';
import { AEAD_KEY_BYTES, type AeadName, NONCE_BYTES, TAG_BYTES } from '../../kernel/linux/aead.ts';

export interface Suite {
  /** The suite's number as in ClientHello. */
  readonly id: number;
  /** The suite's name in OpenSSL. */
  readonly name: string;
  readonly version: TlsVersion;
  readonly aead: AeadName;
  readonly hash: 'sha256' | 'sha384';
  /** Bytes of a half's secret: with TLS 1.3 those of a hash, with TLS 1.2 those of key and iv. */
  readonly secretBytes: number;
  /** What of the nonce is in each record: with AES of TLS 1.2 (RFC 5288, 3). */
  readonly nonceBytes: 0 | 8;
  /** What a record has beside its content. */
  readonly overheadBytes: number;
}

export const RECORD_HEADER_BYTES = 5;
/** A record's type, with TLS 1.3 inside of it. */
const TYPE_BYTES = 1;

function tls13(id: number, name: string, aead: AeadName, hash: Suite['hash']): Suite {
  const secretBytes = hash === 'sha256' ? 32 : 48;
  const overheadBytes = RECORD_HEADER_BYTES + TYPE_BYTES + TAG_BYTES;
  return { id, name, version: 'TLSv1.3', aead, hash, secretBytes, nonceBytes: 0, overheadBytes };
}

function tls12(id: number, name: string, aead: AeadName, hash: Suite['hash']): Suite {
  const secretBytes = AEAD_KEY_BYTES[aead] + NONCE_BYTES;
  const nonceBytes = aead === 'chacha20-poly1305' ? 0 : 8;
  const overheadBytes = RECORD_HEADER_BYTES + nonceBytes + TAG_BYTES;
  return { id, name, version: 'TLSv1.2', aead, hash, secretBytes, nonceBytes, overheadBytes };
}

/** The suites, in the order in which they are preferred. */
export const SUITES: readonly Suite[] = [
  tls13(0x1301, 'TLS_AES_128_GCM_SHA256', 'aes-128-gcm', 'sha256'),
  tls13(0x1302, 'TLS_AES_256_GCM_SHA384', 'aes-256-gcm', 'sha384'),
  tls13(0x1303, 'TLS_CHACHA20_POLY1305_SHA256', 'chacha20-poly1305', 'sha256'),
  tls12(0xc02b, 'ECDHE-ECDSA-AES128-GCM-SHA256', 'aes-128-gcm', 'sha256'),
  tls12(0xc02f, 'ECDHE-RSA-AES128-GCM-SHA256', 'aes-128-gcm', 'sha256'),
  tls12(0xc02c, 'ECDHE-ECDSA-AES256-GCM-SHA384', 'aes-256-gcm', 'sha384'),
  tls12(0xc030, 'ECDHE-RSA-AES256-GCM-SHA384', 'aes-256-gcm', 'sha384'),
  tls12(0xcca9, 'ECDHE-ECDSA-CHACHA20-POLY1305', 'chacha20-poly1305', 'sha256'),
  tls12(0xcca8, 'ECDHE-RSA-CHACHA20-POLY1305', 'chacha20-poly1305', 'sha256'),
];

/** The names of a version's suites, as a list for OpenSSL. */
export function suiteNames(version: TlsVersion): string {
  return SUITES.filter((suite) => suite.version === version)
    .map(({ name }) => name)
    .join(':');
}

/** Undefined: no suite of ours. */
export function suiteOf(id: number): Suite | undefined {
  return SUITES.find((suite) => suite.id === id);
}
