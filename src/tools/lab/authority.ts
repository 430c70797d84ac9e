/** A lab's certificate authority, and the certificate of its nodes. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './error.ts';

const DAYS = '30';
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export interface LabCertificates {
  /** The authority's certificate: what clients are to trust. */
  readonly authority: string;
  readonly cert: string;
  readonly key: string;
}

export function certificatesIn(directory: string): LabCertificates {
  return {
    authority: join(directory, 'ca.pem'),
    cert: join(directory, 'node.pem'),
    key: join(directory, 'node.key'),
  };
}

function openssl(argv: readonly string[]): void {
  try {
    execFileSync('openssl', argv, { stdio: 'pipe' });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const hint = 'certificates of a lab are made by the command openssl: apt-get install openssl';
    throw new LabError('LAB_COMMAND', code === 'ENOENT' ? hint : message);
  }
}

/** Makes both in `directory`. `names`: host names and addresses of all nodes. */
export function makeCertificates(directory: string, names: readonly string[]): void {
  const { authority, cert, key } = certificatesIn(directory);
  const authorityKey = join(directory, 'ca.key');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const isCa = ['-addext', 'keyUsage=critical,keyCertSign'];
  const subject = ['-subj', '/CN=Authority of a Baton lab'];
  openssl([
    'req',
    '-x509',
    ...NEW_KEY,
    '-days',
    DAYS,
    ...subject,
    ...isCa,
    '-keyout',
    authorityKey,
    '-out',
    authority,
  ]);
  const alternatives = names.map((name) => `${/^[0-9.]+$|:/.test(name) ? 'IP' : 'DNS'}:${name}`).join();
  const issued = ['-CA', authority, '-CAkey', authorityKey, '-addext', 'basicConstraints=critical,CA:FALSE'];
  const forNames = ['-subj', '/CN=Node of a Baton lab', '-addext', `subjectAltName=${alternatives}`];
  openssl(['req', '-x509', ...NEW_KEY, '-days', DAYS, ...issued, ...forNames, '-keyout', key, '-out', cert]);
  for (const file of [authorityKey, key]) chmodSync(file, 0o600);
}
