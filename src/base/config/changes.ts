/** What differs between two configurations, and whether a running node can take it over. */
import { isDeepStrictEqual } from 'node:util';
import type { ClusterConfig, SiteConfig } from './config.ts';

/** Values with a place of their own in a configuration, by that place. */
function flatten(value: unknown, path: string, into: Map<string, unknown>): void {
  if (typeof value !== 'object' || value === null) into.set(path, value);
  else if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) into.set(path, value);
  else {
    for (const [key, entry] of Object.entries(value)) {
      const name = Array.isArray(value) ? (entry as { name?: string }).name : undefined;
      flatten(entry, path === '' ? key : `${path}.${name ?? key}`, into);
    }
  }
}

/** Everything but what `reloadable` names. */
function fixedParts({ key, nodes, sites, listen, limits, timeouts, redirect, observe }: ClusterConfig) {
  const fixedSites = sites.map(({ policy: _, ...rest }) => rest);
  const parts = new Map<string, unknown>();
  flatten({ nodes, sites: fixedSites, listen, limits, timeouts, redirect, observe }, '', parts);
  parts.set('cluster.key', key);
  // A request goes by the order of sites only through their hosts, but an index is what an engine knows them by.
  parts.set(
    'the order of sites',
    sites.map((site) => site.name),
  );
  parts.set(
    'the order of nodes',
    nodes.map((node) => node.name),
  );
  return parts;
}

/** Places that differ and that a running node cannot change, such as `nodes.b.engines`. */
export function needRestart(before: ClusterConfig, after: ClusterConfig): string[] {
  const old = fixedParts(before);
  const next = fixedParts(after);
  const places = new Set([...old.keys(), ...next.keys()]);
  return [...places].filter((place) => !isDeepStrictEqual(old.get(place), next.get(place)));
}

/** Names of the sites whose policy differs. */
export function changedPolicies(before: readonly SiteConfig[], after: readonly SiteConfig[]): string[] {
  return after
    .filter((site, index) => !isDeepStrictEqual(site.policy, before[index].policy))
    .map((site) => site.name);
}
