/**
 * The certificates of a node: read by the main thread, given to every engine, and read again when their files change.
 * One that cannot be used leaves the one before in force. Keys are in memory that the threads share until every engine
 * has taken them, and are wiped then.
 */
import { statSync } from 'node:fs';
import { CertificateFault, type LoadedCertificate, loadCertificate } from '../../base/config/certificates.ts';
import type { CertificateFiles, Role, SiteConfig } from '../../base/config/config.ts';
import type { Credentials } from '../../protocol/tls/contexts.ts';
import type { CertificateStatus } from '../admin/api.ts';

/** Between two looks at the files. */
export const LOOK_MS = 2000;
const DAY_MS = 86_400_000;
/** What expires sooner is warned of. */
export const EXPIRES_SOON_DAYS = 14;

/** What became of reading certificates. */
export interface Renewal {
  /** What the engines get: for a certificate that could not be read, the one before. */
  readonly credentials: readonly Credentials[];
  /** Sites, and what is wrong with their certificates. */
  readonly faults: ReadonlyArray<{ readonly site: string; readonly error: string; readonly hint: string }>;
}

interface Held {
  readonly names: readonly string[];
  readonly expiresMs: number;
}

/** What tells that a file is another one. */
function stateOf(files: readonly CertificateFiles[]): string {
  const look = (file: string) => {
    try {
      const { mtimeMs, ctimeMs, size, ino, mode } = statSync(file);
      return [mtimeMs, ctimeMs, size, ino, mode].join();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'unreadable';
    }
  };
  return files.flatMap(({ cert, key }) => [look(cert), look(key)]).join(';');
}

const filesOf = (sites: readonly SiteConfig[]): CertificateFiles[] =>
  sites.flatMap(({ tls }) => tls?.certificates ?? []);

function namesOf({ leaf }: LoadedCertificate): string[] {
  const alternatives = leaf.subjectAltName ?? leaf.subject;
  return alternatives.split(/, |\n/).map((name) => name.replace(/^(DNS|IP Address|CN)[:=]/, ''));
}

export class Certificates {
  readonly #speaksTls: boolean;
  #sites: readonly SiteConfig[] = [];
  /** What is in force, by site. */
  readonly #held = new Map<string, Held>();
  /** Why the newest ones are not, by site. */
  readonly #errors = new Map<string, string>();
  /** Keys that are not wiped yet. */
  #keys: Uint8Array[] = [];
  /** The files as they were read last, and as they were found last. */
  #read = '';
  #found = '';

  /** `role`: a front speaks with no client, and needs none. */
  constructor(role: Role) {
    this.#speaksTls = role !== 'front';
  }

  /** Reads all certificates of these sites. */
  read(all: readonly SiteConfig[]): Renewal {
    const sites = this.#speaksTls ? all : [];
    const faults: Array<Renewal['faults'][number]> = [];
    const credentials: Credentials[] = [];
    this.#sites = sites;
    this.#read = stateOf(filesOf(sites));
    this.#found = this.#read;
    for (const { name: site, hosts, tls } of sites) {
      if (tls === null) continue;
      let loaded: LoadedCertificate[] | null = null;
      try {
        loaded = tls.certificates.map(loadCertificate);
        this.#keys.push(...loaded.map(({ key }) => key));
        const expiresMs = Math.min(...loaded.map((one) => one.expiresMs));
        this.#held.set(site, { names: [...new Set(loaded.flatMap(namesOf))], expiresMs });
        this.#errors.delete(site);
      } catch (error) {
        if (!(error instanceof CertificateFault)) throw error;
        faults.push({ site, error: error.message, hint: error.hint });
        this.#errors.set(site, error.message);
      }
      const pairs = loaded?.map(({ chain, key }) => ({ chain, key })) ?? null;
      credentials.push({ site, hosts, minVersion: tls.minVersion, pairs });
    }
    return { credentials, faults };
  }

  /** Every engine has taken what was read, or has refused it. */
  taken(): void {
    for (const key of this.#keys.splice(0)) key.fill(0);
  }

  /**
   * The files are others than those that were read, and have been since the last look: what writes them may write the
   * certificate first, and then its key.
   */
  get haveChanged(): boolean {
    const found = stateOf(filesOf(this.#sites));
    const isSettled = found === this.#found;
    this.#found = found;
    return isSettled && found !== this.#read;
  }

  /** What is in force. */
  status(nowMs: number): CertificateStatus[] {
    return [...this.#held].map(([site, { names, expiresMs }]) => ({
      site,
      names,
      expires: new Date(expiresMs).toISOString(),
      daysLeft: Math.floor((expiresMs - nowMs) / DAY_MS),
      error: this.#errors.get(site) ?? null,
    }));
  }
}
