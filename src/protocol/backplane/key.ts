/** The cluster key from what the configuration holds. */
import { scryptSync } from 'node:crypto';
import { KeyError } from './errors.ts';
import { CLUSTER_KEY_BYTES } from './handshake.ts';

export const SECRET_MIN_CHARS = 16;
export const SECRET_MAX_CHARS = 1024;

const HEX_KEY = /^[0-9a-fA-F]{64}$/;
/** Every node must derive the same key, so the salt is fixed. */
const SALT = 'baton cluster key 1';
/** 32 MiB and about 0.1 s, once per process: guessing short secrets is made dear. */
const SCRYPT = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };

/**
 * The 32-byte cluster key: 64 hexadecimal digits are the key itself, any other text of SECRET_MIN_CHARS to
 * SECRET_MAX_CHARS is stretched with scrypt (RFC 7914). Throws KeyError.
 */
export function clusterKey(secret: string): Buffer {
  if (HEX_KEY.test(secret)) return Buffer.from(secret, 'hex');
  const text = secret.normalize('NFC');
  if (text.length < SECRET_MIN_CHARS)
    throw new KeyError(
      'SECRET_TOO_SHORT',
      `the cluster key has ${text.length} characters; use at least ${SECRET_MIN_CHARS}, or 64 hexadecimal digits`,
    );
  if (text.length > SECRET_MAX_CHARS)
    throw new KeyError('SECRET_TOO_LONG', `the cluster key has more than ${SECRET_MAX_CHARS} characters`);
  return scryptSync(text, SALT, CLUSTER_KEY_BYTES, SCRYPT);
}
