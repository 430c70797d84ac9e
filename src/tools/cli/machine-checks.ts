/**
 * What a configuration needs of this machine: directories, the interface, a key that nobody else reads. The file is the
 * same on every node, so most of it can be told only when it is known which of them this machine is.
 */
import { statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { ClusterConfig } from '../../base/config/config.ts';
import type { ConfigProblem } from '../../base/config/error.ts';
import { keyFileOf } from '../../base/config/load.ts';
import { rootOf, rootProblem } from '../../base/config/roots.ts';
import { hasOwn, type Path, type Source, valueAt } from '../../base/config/source.ts';
import { hasInterface } from '../../kernel/linux/interface.ts';
import { checkCertificates } from './certificate-checks.ts';

export interface MachineProblems {
  readonly errors: readonly ConfigProblem[];
  readonly warnings: readonly ConfigProblem[];
}

/** The node whose own address this machine has; null when it has that of none. */
export function nodeHere({ nodes }: ClusterConfig): string | null {
  const here = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  const found = nodes.find((node) => here.includes(node.address) || here.includes(node.address6 ?? ''));
  return found?.name ?? null;
}

/** `node`: which one this machine is; null when it is none, or not known. */
export function checkMachine(source: Source, config: ClusterConfig, node: string | null): MachineProblems {
  const certificates = checkCertificates(source, config, node !== null, Date.now());
  const errors = [...checkKeyFile(source), ...certificates.errors];
  const warnings = [...(node === null ? [] : checkInterface(source, config, node)), ...certificates.warnings];
  for (const { path, root } of rootsIn(source, config, node)) {
    const wrong = rootProblem(root);
    if (wrong === null) continue;
    const isCertain = node !== null || wrong.endsWith('is not a directory');
    const hint = isCertain
      ? 'make the directory, or name another'
      : 'baton check --node NAME, on the machine of a node';
    (isCertain ? errors : warnings).push(source.problem(path, 'value', wrong, hint));
  }
  return { errors, warnings };
}

interface RootInFile {
  readonly path: Path;
  readonly root: string;
}

/** The roots of a node, or of all, where the file has them; each place once. */
function rootsIn(source: Source, { nodes, sites }: ClusterConfig, node: string | null): RootInFile[] {
  const names = node === null ? nodes.map(({ name }) => name) : [node];
  return sites.flatMap((site, index) => {
    const roots = new Map<string, RootInFile>();
    for (const name of names) {
      const root = rootOf(site, name);
      if (root === null) continue;
      const path = [
        'sites',
        index,
        ...(hasOwn(valueAt(source.value, ['sites', index, 'roots']), name) ? ['roots', name] : ['root']),
      ];
      roots.set(path.join(), { path, root });
    }
    return [...roots.values()];
  });
}

function checkInterface(source: Source, { nodes }: ClusterConfig, name: string): ConfigProblem[] {
  const node = nodes.find((one) => one.name === name)!;
  if (hasInterface(node.interface)) return [];
  const message = `there is no interface ${node.interface} on this machine`;
  return [source.problem(['nodes', name, 'interface'], 'value', message, 'ip link shows what there is')];
}

const READABLE_BY_OTHERS = 0o004;

function checkKeyFile(source: Source): ConfigProblem[] {
  const file = keyFileOf(source);
  if (file === null || (statSync(file).mode & READABLE_BY_OTHERS) === 0) return [];
  const message = `everybody on this machine can read the cluster key in ${file}`;
  return [source.problem(['cluster', 'key'], 'value', message, `chmod o= ${file}`)];
}
