/** The keys of a TLS 1.2 session (RFC 5246, 5 and 6.3): both halves' follow from one secret and what both ends threw in. */
import { AEAD_KEY_BYTES, NONCE_BYTES } from '../../kernel/linux/aead.ts';
import { hmac } from '../../kernel/linux/hmac.ts';
import type { Suite } from './suites.ts';

export const RANDOM_BYTES = 32;
const LABEL = 'key expansion';

/** P_hash: as many bytes as are asked for. */
export function expand({ hash }: Pick<Suite, 'hash'>, secret: Buffer, seed: Buffer, bytes: number): Buffer {
  const blocks: Buffer[] = [];
  let chain = seed;
  for (let have = 0; have < bytes; have += chain.length) {
    chain = hmac(hash, secret, chain);
    blocks.push(hmac(hash, secret, Buffer.concat([chain, seed])));
  }
  const all = Buffer.concat(blocks, bytes);
  for (const block of blocks) block.fill(0);
  return all;
}

/** Secrets of both halves: a key, and its iv. */
export interface KeyBlock {
  readonly client: Buffer;
  readonly server: Buffer;
}

/**
 * `serverNonce`: with AES what the record with the server's Finished, its first, has of its nonce. The nonces of the
 * ones that follow are made from it as with TLS 1.3, so that none comes twice. The client makes its own as it likes.
 */
export function keyBlock(
  suite: Suite,
  master: Buffer,
  clientRandom: Buffer,
  serverRandom: Buffer,
  serverNonce: Buffer,
): KeyBlock {
  const keyBytes = AEAD_KEY_BYTES[suite.aead];
  const ivBytes = NONCE_BYTES - suite.nonceBytes;
  const seed = Buffer.concat([Buffer.from(LABEL, 'latin1'), serverRandom, clientRandom]);
  const block = expand(suite, master, seed, 2 * (keyBytes + ivBytes));
  const secretOf = (side: 0 | 1, rest: Buffer) => {
    const ivAt = 2 * keyBytes + side * ivBytes;
    const key = block.subarray(side * keyBytes, (side + 1) * keyBytes);
    return Buffer.concat([key, block.subarray(ivAt, ivAt + ivBytes), rest], suite.secretBytes);
  };
  const client = secretOf(0, Buffer.alloc(suite.nonceBytes));
  const server = secretOf(1, serverNonce.subarray(0, suite.nonceBytes));
  block.fill(0);
  return { client, server };
}
