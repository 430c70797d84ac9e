/** Directories that a configuration names, as this machine has them. */
import { accessSync, constants, statSync } from 'node:fs';
import type { ClusterConfig, SiteConfig } from './config.ts';

/** What is wrong with a root on this machine; null when nothing is. */
export function rootProblem(root: string): string | null {
  try {
    if (!statSync(root).isDirectory()) return `${root} is not a directory`;
    accessSync(root, constants.R_OK | constants.X_OK);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? `there is no directory ${root}` : `${root} cannot be read (${code})`;
  }
}

/** The directory that a node serves a site from; null when it serves none. */
export function rootOf(site: SiteConfig, node: string): string | null {
  const source = Object.hasOwn(site.content, node) ? site.content[node] : undefined;
  return source?.kind === 'root' ? source.root : null;
}

/** What is wrong with the roots of a node, in words. */
export function rootProblems(config: ClusterConfig, node: string): string[] {
  return config.sites.flatMap((site) => {
    const root = rootOf(site, node);
    const problem = root === null ? null : rootProblem(root);
    return problem === null ? [] : [`site ${site.name}: ${problem}`];
  });
}
