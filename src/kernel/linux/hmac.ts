/**
 * HMAC (RFC 2104) by OpenSSL, called directly: node:crypto makes two objects for each, which costs several times what
 * the hash of a short text does. The one context is used by one call at a time, and holds no key between two.
 */
import { addressOf, allocate } from './memory.ts';
import { openssl } from './openssl.ts';

export type HashName = 'sha256' | 'sha384';
const DIGEST_BYTES: Readonly<Record<HashName, number>> = { sha256: 32, sha384: 48 };

/** The algorithm and digest, as OpenSSL has fetched them. */
interface Found {
  readonly context: number;
  readonly digests: Readonly<Record<HashName, number>>;
}

let found: Found | undefined;

function find(): Found {
  const { newHmac, fetchDigest } = openssl();
  const digests = { sha256: fetchDigest(0, 'SHA256', 0), sha384: fetchDigest(0, 'SHA384', 0) };
  return { context: newHmac(), digests };
}

/** What OpenSSL knows a hash by. */
export function digestOf(hash: HashName): number {
  found ??= find();
  return found.digests[hash];
}

const output = allocate(Math.max(...Object.values(DIGEST_BYTES)));

/** The first `bytes` of the HMAC of a text that is not empty. The caller wipes the key, and the result if it is a secret. */
export function hmac(hash: HashName, key: Buffer, text: Buffer, bytes = DIGEST_BYTES[hash]): Buffer {
  found ??= find();
  const { context, digests } = found;
  const { hmacInit, hmacUpdate, hmacFinal, hmacReset } = openssl();
  const isDone =
    hmacInit(context, addressOf(key), key.length, digests[hash], 0) === 1 &&
    hmacUpdate(context, addressOf(text), text.length) === 1 &&
    hmacFinal(context, output.address, 0) === 1;
  hmacReset(context);
  if (!isDone) throw new Error('libcrypto refused a call of HMAC');
  const digest = Buffer.from(output.bytes.subarray(0, bytes));
  output.bytes.fill(0);
  return digest;
}
