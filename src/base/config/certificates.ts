/** Certificates and keys that a configuration names, as this machine has them. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { CertificateFiles } from './config.ts';

const MAX_PEM_BYTES = 256 * 1024;
const MAX_CHAIN = 10;
const READABLE_BY_OTHERS = 0o044;
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** A certificate with its chain, and its key, as they were read. */
export interface LoadedCertificate {
  /** PEM. */
  readonly chain: Uint8Array;
  /** PEM, in memory that threads share, so that it can be wiped when every engine has taken it. */
  readonly key: Uint8Array;
  readonly leaf: X509Certificate;
  readonly expiresMs: number;
}

/** What is wrong, and with which of the two files. `hint` may be empty. */
export class CertificateFault extends Error {
  override readonly name = 'CertificateFault';
  readonly code = 'CERTIFICATE_FAULT';
  readonly file: 'cert' | 'key';
  readonly hint: string;

  constructor(file: 'cert' | 'key', message: string, hint = '') {
    super(message);
    this.file = file;
    this.hint = hint;
  }
}

function read(which: 'cert' | 'key', file: string): Buffer {
  try {
    if (statSync(file).size > MAX_PEM_BYTES)
      throw new CertificateFault(which, `${file} is larger than ${MAX_PEM_BYTES} bytes`);
    return readFileSync(file);
  } catch (error) {
    if (error instanceof CertificateFault) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new CertificateFault(
      which,
      code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read (${code})`,
    );
  }
}

function parseChain(file: string, pem: Buffer): X509Certificate[] {
  const parts = pem.toString('latin1').match(PEM) ?? [];
  if (parts.length === 0)
    throw new CertificateFault(
      'cert',
      `${file} holds no certificate in PEM`,
      'openssl x509 -inform DER makes PEM of DER',
    );
  if (parts.length > MAX_CHAIN)
    throw new CertificateFault('cert', `${file} holds more than ${MAX_CHAIN} certificates`);
  const chain = parts.map((part) => {
    try {
      return new X509Certificate(part);
    } catch (error) {
      throw new CertificateFault('cert', `${file} cannot be parsed: ${(error as Error).message}`);
    }
  });
  const broken = chain.findIndex((one, at) => at + 1 < chain.length && !one.checkIssued(chain[at + 1]));
  if (broken >= 0)
    throw new CertificateFault(
      'cert',
      `certificate ${broken + 2} of ${file} is not the issuer of the one before`,
      'the own certificate comes first, then its issuer, and so on',
    );
  return chain;
}

function parseKey(file: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // OpenSSL's reason says nothing to most people.
    const hint = 'a key with a passphrase cannot be used: openssl pkey -in FILE -out FILE takes it away';
    throw new CertificateFault('key', `${file} holds no private key in PEM`, hint);
  }
}

/** Throws CertificateFault. */
export function loadCertificate({ cert, key }: CertificateFiles): LoadedCertificate {
  const chain = read('cert', cert);
  const [leaf] = parseChain(cert, chain);
  const secret = read('key', key);
  try {
    if ((statSync(key).mode & READABLE_BY_OTHERS) !== 0)
      throw new CertificateFault(
        'key',
        `others on this machine can read the key in ${key}`,
        `chmod go= ${key}`,
      );
    if (!leaf.checkPrivateKey(parseKey(key, secret)))
      throw new CertificateFault('key', `${key} is not the key of ${cert}`);
    const shared = new Uint8Array(new SharedArrayBuffer(secret.length));
    shared.set(secret);
    return { chain: Uint8Array.from(chain), key: shared, leaf, expiresMs: Date.parse(leaf.validTo) };
  } finally {
    secret.fill(0);
  }
}

/** Hosts of a site that none of its certificates is for. */
export function uncovered(hosts: readonly string[], leaves: readonly X509Certificate[]): string[] {
  const covers = (leaf: X509Certificate, host: string) => {
    const name = host.replace(/^\[|\]$/g, '').replace(/\.$/, '');
    if (isIP(name) !== 0) return leaf.checkIP(name) !== undefined;
    return leaf.checkHost(name.replace(/^\*/, 'any')) !== undefined;
  };
  return hosts.filter((host) => host !== '*' && !leaves.some((leaf) => covers(leaf, host)));
}
