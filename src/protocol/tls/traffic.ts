/**
 * Traffic secrets and what follows from them (RFC 8446, 7.1 to 7.3). A connection has two halves, one a direction; each
 * has a secret, and counts its records. With TLS 1.2 the secret is the key with the iv behind it, and stays (key-block.ts).
 */
import assert from 'node:assert';
import { AEAD_KEY_BYTES, NONCE_BYTES } from '../../kernel/linux/aead.ts';
import { hmac } from '../../kernel/linux/hmac.ts';
import type { Suite } from './suites.ts';

/** One direction of a session, as its owner has it. */
export interface TrafficHalf {
  readonly suite: Suite;
  readonly secret: Buffer;
  /** Of the next record. */
  readonly number: number;
}

/**
 * What seals or opens records from one number on. Neither the secret of TLS 1.3 follows from it nor the keys after a
 * KeyUpdate, so it is what a target is given.
 */
export interface TrafficKeys {
  readonly suite: Suite;
  readonly key: Buffer;
  readonly iv: Buffer;
  /** Of the next record. */
  readonly number: number;
}

/** A write half that another node goes on with, for one response. */
export interface LentHalf extends TrafficKeys {
  /** Bytes of the next record that the client has already. */
  readonly cut: number;
}

type Label = 'key' | 'iv' | 'traffic upd';
/** The texts that HKDF-Expand-Label hashes, by label and length of the result: all connections share them. */
const infos: Record<Label, Map<number, Buffer>> = { key: new Map(), iv: new Map(), 'traffic upd': new Map() };

function infoOf(label: Label, bytes: number): Buffer {
  const known = infos[label].get(bytes);
  if (known !== undefined) return known;
  const text = `tls13 ${label}`;
  const info = Buffer.alloc(5 + text.length);
  info.writeUInt16BE(bytes, 0);
  info[2] = text.length;
  info.write(text, 3, 'latin1');
  // Nothing here is longer than one hash, so the first block is all that HKDF-Expand gives.
  info[info.length - 1] = 1;
  infos[label].set(bytes, info);
  return info;
}

/** HKDF-Expand-Label with an empty context (RFC 8446, 7.1; RFC 5869, 2.3). */
export function expandLabel({ hash }: Suite, secret: Buffer, label: Label, bytes: number): Buffer {
  return hmac(hash, secret, infoOf(label, bytes), bytes);
}

export function trafficKeys({ suite, secret, number }: TrafficHalf): TrafficKeys {
  const keyBytes = AEAD_KEY_BYTES[suite.aead];
  if (suite.version === 'TLSv1.2') {
    const copy = Buffer.from(secret);
    return { suite, key: copy.subarray(0, keyBytes), iv: copy.subarray(keyBytes), number };
  }
  const key = expandLabel(suite, secret, 'key', keyBytes);
  return { suite, key, iv: expandLabel(suite, secret, 'iv', NONCE_BYTES), number };
}

/** A copy with its own key and iv, for records from `number` on. */
export function copyKeys({ suite, key, iv }: TrafficKeys, number: number): TrafficKeys {
  return { suite, key: Buffer.from(key), iv: Buffer.from(iv), number };
}

/** The half after a KeyUpdate (RFC 8446, 7.2), which TLS 1.3 alone has. */
export function nextHalf({ suite, secret }: TrafficHalf): TrafficHalf {
  assert(suite.version === 'TLSv1.3', 'a key of TLS 1.2 is the only one');
  return { suite, secret: expandLabel(suite, secret, 'traffic upd', suite.secretBytes), number: 0 };
}

export function wipeHalf(half: TrafficHalf): void {
  half.secret.fill(0);
}

export function wipeKeys({ key, iv }: TrafficKeys): void {
  key.fill(0);
  iv.fill(0);
}
