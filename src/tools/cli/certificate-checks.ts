/** What a configuration needs of this machine for TLS: certificates, their keys, and time left. */
import {
  CertificateFault,
  type LoadedCertificate,
  loadCertificate,
  uncovered,
} from '../../base/config/certificates.ts';
import type { ClusterConfig, SiteConfig } from '../../base/config/config.ts';
import type { ConfigProblem } from '../../base/config/error.ts';
import { hasOwn, type Path, type Source, valueAt } from '../../base/config/source.ts';

const DAY_MS = 86_400_000;
const WARN_DAYS = 14;

export interface CertificateProblems {
  readonly errors: readonly ConfigProblem[];
  readonly warnings: readonly ConfigProblem[];
}

/** `isCertain`: the machine is a node's, so that a file that is missing here is missing. */
export function checkCertificates(
  source: Source,
  { sites }: ClusterConfig,
  isCertain: boolean,
  nowMs: number,
): CertificateProblems {
  const errors: ConfigProblem[] = [];
  const warnings: ConfigProblem[] = [];
  for (const [index, site] of sites.entries()) {
    const loaded: LoadedCertificate[] = [];
    for (const [at, files] of (site.tls?.certificates ?? []).entries()) {
      const path = placeOf(source, index, at);
      try {
        const one = loadCertificate(files);
        one.key.fill(0);
        loaded.push(one);
        checkTime(source, [...path, 'cert'], files.cert, one.expiresMs, nowMs, { errors, warnings });
      } catch (error) {
        if (!(error instanceof CertificateFault)) throw error;
        const isOnlyHere = !isCertain && error.message.startsWith('there is no file');
        const hint = isOnlyHere ? 'baton check --node NAME, on the machine of a node' : error.hint;
        const problem = source.problem([...path, error.file], 'value', error.message, hint);
        (isOnlyHere ? warnings : errors).push(problem);
      }
    }
    if (loaded.length > 0) warnings.push(...checkHosts(source, index, site, loaded));
  }
  return { errors, warnings };
}

/** `cert` and `key` stand in the list, or without one. */
function placeOf(source: Source, site: number, at: number): Path {
  const path = ['sites', site, 'tls'];
  return hasOwn(valueAt(source.value, path), 'certificates') ? [...path, 'certificates', at] : path;
}

function checkTime(
  source: Source,
  path: Path,
  file: string,
  expiresMs: number,
  nowMs: number,
  { errors, warnings }: { readonly errors: ConfigProblem[]; readonly warnings: ConfigProblem[] },
): void {
  const days = Math.floor((expiresMs - nowMs) / DAY_MS);
  if (days >= WARN_DAYS) return;
  const when = new Date(expiresMs).toISOString();
  if (days < 0) errors.push(source.problem(path, 'value', `${file} has expired (${when})`, 'renew it'));
  else warnings.push(source.problem(path, 'value', `${file} expires in ${days} days (${when})`, 'renew it'));
}

function checkHosts(
  source: Source,
  index: number,
  { hosts }: SiteConfig,
  loaded: readonly LoadedCertificate[],
): ConfigProblem[] {
  const bare = uncovered(
    hosts,
    loaded.map(({ leaf }) => leaf),
  );
  return bare.map((host) => {
    const at = hosts.indexOf(host);
    const hint = 'clients that ask for it by TLS are shown a certificate for other names';
    return source.problem(['sites', index, 'hosts', at], 'value', `no certificate is for ${host}`, hint);
  });
}
