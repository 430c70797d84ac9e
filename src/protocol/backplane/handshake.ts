/**
 * The handshake's messages and keys, as functions of their inputs.
 *
 *     dial end                                   accept end
 *     GREETING (dial)      ------------------>
 *                          <------------------   GREETING (accept)
 *     PROOF (dial)         ------------------>
 *                          <------------------   PROOF (accept)
 *
 * GREETING, 72 bytes:
 *
 * | offset | bytes | field     | value |
 * |--------|-------|-----------|-------|
 * | 0      | 4     | magic     | 42 54 4f 4e ("BTON") |
 * | 4      | 1     | version   | 1 |
 * | 5      | 1     | role      | 1 dial, 2 accept |
 * | 6      | 2     | reserved  | 0 |
 * | 8      | 32    | nonce     | random |
 * | 40     | 32    | ephemeral | X25519 public key (RFC 7748), new for each session |
 *
 * PROOF, 32 bytes: see `proof`.
 *
 *     transcript = SHA-256(GREETING of dial || GREETING of accept)
 *     secret     = cluster key (32) || X25519(own ephemeral, peer's ephemeral) (32)
 *     expand(label, length) = HKDF-SHA-256(secret, salt = transcript, info = "baton backplane 1 " label, length)
 *
 * Both greetings, version and all, are in the transcript, so no byte of them can be changed unnoticed. Keys need
 * the ephemeral secret too: the cluster key alone opens no recorded session.
 */
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { SessionError } from './errors.ts';
import { RECORD_KEY_BYTES } from './record.ts';

export type Role = 'dial' | 'accept';

export const SESSION_VERSION = 1;
export const CLUSTER_KEY_BYTES = 32;
export const GREETING_BYTES = 72;
export const PROOF_BYTES = 32;
export const RANDOM_BYTES = 32;

const MAGIC = 0x42544f4e;
const ROLE_CODE = { dial: 1, accept: 2 } as const;
const NONCE_AT = 8;
const EPHEMERAL_AT = 40;
const LABEL = 'baton backplane 1 ';
/** DER of a PKCS #8 X25519 private key and of its SubjectPublicKeyInfo (RFC 8410), up to the 32 key bytes. */
const PRIVATE_KEY_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_KEY_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

/** An X25519 private key from 32 random bytes. */
export function ephemeralKey(seed: Buffer): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([PRIVATE_KEY_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
}

export function encodeGreeting(role: Role, nonce: Buffer, ephemeral: KeyObject): Buffer {
  const greeting = Buffer.alloc(GREETING_BYTES);
  greeting.writeUInt32BE(MAGIC, 0);
  greeting[4] = SESSION_VERSION;
  greeting[5] = ROLE_CODE[role];
  nonce.copy(greeting, NONCE_AT);
  const spki = createPublicKey(ephemeral).export({ format: 'der', type: 'spki' });
  spki.copy(greeting, EPHEMERAL_AT, PUBLIC_KEY_PREFIX.length);
  return greeting;
}

/**
 * Checks the peer's greeting against its role and our own greeting; null: that is made only when this one is whole, so
 * nothing of it can come back. `greeting` may be as short as its first 8 bytes, so that a stranger is turned away
 * before it has sent a nonce.
 */
export function checkGreeting(greeting: Buffer, role: Role, own: Buffer | null): void {
  if (greeting.readUInt32BE(0) !== MAGIC) throw new SessionError('MALFORMED', 'no Baton backplane');
  if (greeting[4] !== SESSION_VERSION) throw new SessionError('VERSION', `session version ${greeting[4]}`);
  if (greeting[5] === ROLE_CODE[role === 'dial' ? 'accept' : 'dial'])
    throw new SessionError('REFLECTED', `the peer is no ${role} end`);
  if (greeting[5] !== ROLE_CODE[role]) throw new SessionError('MALFORMED', `role ${greeting[5]}`);
  if (greeting.readUInt16BE(6) !== 0) throw new SessionError('MALFORMED', 'reserved bytes of the greeting');
  if (greeting.length < GREETING_BYTES || own === null) return;
  const nonceIsOurs = greeting.compare(own, NONCE_AT, EPHEMERAL_AT, NONCE_AT, EPHEMERAL_AT) === 0;
  const keyIsOurs = greeting.compare(own, EPHEMERAL_AT, GREETING_BYTES, EPHEMERAL_AT, GREETING_BYTES) === 0;
  if (nonceIsOurs || keyIsOurs) throw new SessionError('REFLECTED', 'our own nonce or key came back');
}

/** All that follows from both greetings. `dial*` is what the dial end sends with, `accept*` the accept end. */
export interface Schedule {
  transcript: Buffer;
  dialProofKey: Buffer;
  acceptProofKey: Buffer;
  dialRecordKey: Buffer;
  acceptRecordKey: Buffer;
}

/** Derives the schedule; `ephemeral` is our private key, `peer` the greeting of the other end. */
export function schedule(
  clusterKey: Buffer,
  ephemeral: KeyObject,
  peer: Buffer,
  dialGreeting: Buffer,
  acceptGreeting: Buffer,
): Schedule {
  const transcript = createHash('sha256').update(dialGreeting).update(acceptGreeting).digest();
  const secret = Buffer.concat([clusterKey, exchange(ephemeral, peer)]);
  const expand = (label: string, length: number) =>
    Buffer.from(hkdfSync('sha256', secret, transcript, LABEL + label, length));
  return {
    transcript,
    dialProofKey: expand('dial proof', PROOF_BYTES),
    acceptProofKey: expand('accept proof', PROOF_BYTES),
    dialRecordKey: expand('dial records', RECORD_KEY_BYTES),
    acceptRecordKey: expand('accept records', RECORD_KEY_BYTES),
  };
}

/**
 * What shows that an end has the cluster key: HMAC-SHA-256(ROLE proof key, ROLE || transcript), ROLE being the
 * text "dial" or "accept".
 */
export function proof(keys: Schedule, role: Role): Buffer {
  const key = role === 'dial' ? keys.dialProofKey : keys.acceptProofKey;
  return createHmac('sha256', key).update(role).update(keys.transcript).digest();
}

function exchange(ephemeral: KeyObject, peer: Buffer): Buffer {
  const spki = Buffer.concat([PUBLIC_KEY_PREFIX, peer.subarray(EPHEMERAL_AT, GREETING_BYTES)]);
  try {
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    return diffieHellman({ privateKey: ephemeral, publicKey });
  } catch {
    // OpenSSL refuses points of low order, whose shared secret would be all zeros (RFC 7748, 6.1).
    throw new SessionError('MALFORMED', 'ephemeral key of low order');
  }
}
