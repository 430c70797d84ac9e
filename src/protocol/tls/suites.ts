/** The cipher suites of TLS 1.3 (RFC 8446, B.4) that Baton speaks: all but those with CCM. */
import type { AeadName } from '../../kernel/linux/aead.ts';

export interface Suite {
  /** As in ClientHello. */
  readonly id: number;
  readonly name: string;
  readonly aead: AeadName;
  readonly hash: 'sha256' | 'sha384';
  /** Of a hash, and so of a traffic secret. */
  readonly secretBytes: number;
}

export const SUITES: readonly Suite[] = [
  { id: 0x1301, name: 'TLS_AES_128_GCM_SHA256', aead: 'aes-128-gcm', hash: 'sha256', secretBytes: 32 },
  { id: 0x1302, name: 'TLS_AES_256_GCM_SHA384', aead: 'aes-256-gcm', hash: 'sha384', secretBytes: 48 },
  {
    id: 0x1303,
    name: 'TLS_CHACHA20_POLY1305_SHA256',
    aead: 'chacha20-poly1305',
    hash: 'sha256',
    secretBytes: 32,
  },
];

/** Undefined: no suite of ours. */
export function suiteOf(id: number): Suite | undefined {
  return SUITES.find((suite) => suite.id === id);
}
