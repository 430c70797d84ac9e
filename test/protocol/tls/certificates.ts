/** Certificates for tests, made once a process by the command openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CertificatePair } from '../../../src/protocol/tls/contexts.ts';

const KINDS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
  rsa: ['-newkey', 'rsa:2048'],
} as const;

export interface MadeFiles {
  readonly cert: string;
  readonly key: string;
}

/** A self-signed certificate in files of `directory`. `more`: further options of `openssl req`. */
export function makeFiles(
  directory: string,
  name: string,
  hosts: readonly string[],
  kind: keyof typeof KINDS = 'ec',
  more: readonly string[] = ['-days', '30'],
): MadeFiles {
  const cert = join(directory, `${name}.pem`);
  const key = join(directory, `${name}.key`);
  const names = `subjectAltName=${hosts.map((host) => `DNS:${host}`).join()}`;
  const fixed = ['req', '-x509', '-nodes', '-subj', `/CN=${name}`, '-addext', names];
  execFileSync('openssl', [...fixed, ...KINDS[kind], ...more, '-keyout', key, '-out', cert], {
    stdio: 'pipe',
  });
  return { cert, key };
}

/** The same in memory. */
export function makePair(hosts: readonly string[], kind: keyof typeof KINDS = 'ec'): CertificatePair {
  const directory = mkdtempSync(join(tmpdir(), 'baton-tls-'));
  try {
    const { cert, key } = makeFiles(directory, 'pair', hosts, kind);
    return { chain: readFileSync(cert), key: readFileSync(key) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
