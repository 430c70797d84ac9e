/** What differs between two configurations, in the words of the file, and whether a running node can take it over. */
import { isDeepStrictEqual } from 'node:util';
import type { ClusterConfig, SiteConfig } from './config.ts';

/** Whatever has a place of its own in the file, by that place: `limits.flows`, `nodes.b.engines`. */
type Parts = Map<string, unknown>;

/** Everything but what a running node takes over (policies, certificates, limits of clients), and the file's name. */
function fixedParts({ file: _, key, nodes, sites, clientLimits: __, ...sections }: ClusterConfig): Parts {
  const parts: Parts = new Map<string, unknown>([['cluster.key', key]]);
  for (const [section, values] of Object.entries(sections))
    for (const [name, value] of Object.entries(values)) parts.set(`${section}.${name}`, value);
  for (const { name, ...keys } of nodes)
    for (const [at, value] of Object.entries(keys)) parts.set(`nodes.${name}.${at}`, value);
  for (const { name, policy: _, content, clone, tls, ...keys } of sites) {
    for (const [at, value] of Object.entries(keys)) parts.set(`sites.${name}.${at}`, value);
    // Only whether there is TLS at all: a running node takes over other certificates.
    parts.set(`sites.${name}.tls`, tls !== null);
    parts.set(`sites.${name}.tls.redirect`, tls?.redirect);
    parts.set(`sites.${name}.tls.hsts`, tls?.hstsSeconds);
    for (const [at, value] of Object.entries(clone)) parts.set(`sites.${name}.clone.${at}`, value);
    parts.set(`sites.${name}.serve`, Object.keys(content));
  }
  // A request goes by the order of sites only through their hosts, but an index is what an engine knows them by.
  parts.set('the order of sites', namesOf(sites));
  parts.set('the order of nodes', namesOf(nodes));
  return parts;
}

const namesOf = (all: ReadonlyArray<{ readonly name: string }>): string[] => all.map(({ name }) => name);

const serversOf = ({ nodes }: ClusterConfig): string[] =>
  namesOf(nodes.filter(({ role }) => role === 'server'));

/** Names that only one of the two has. */
function comeOrGone(before: readonly string[], after: readonly string[]): string[] {
  return [
    ...after.filter((name) => !before.includes(name)),
    ...before.filter((name) => !after.includes(name)),
  ];
}

/** Where a site's files or upstream differ: for all of its nodes (`root`), or for single ones (`roots.b`). */
function changedContent(before: SiteConfig, after: SiteConfig): string[] {
  const both = Object.keys(after.content).filter((node) => Object.hasOwn(before.content, node));
  const changed = both.filter((node) => !isDeepStrictEqual(before.content[node], after.content[node]));
  const places = changed.map((node) => {
    const { kind } = after.content[node];
    return changed.length === both.length ? kind : `${kind}s.${node}`;
  });
  return [...new Set(places)].map((place) => `sites.${after.name}.${place}`);
}

/** Places that differ and that a running node cannot change. A node or site that is new, or gone, is one place. */
export function needRestart(before: ClusterConfig, after: ClusterConfig): string[] {
  const nodes = comeOrGone(namesOf(before.nodes), namesOf(after.nodes));
  const sites = comeOrGone(namesOf(before.sites), namesOf(after.sites));
  const whole = [...nodes.map((name) => `nodes.${name}`), ...sites.map((name) => `sites.${name}`)];
  const old = fixedParts(before);
  const next = fixedParts(after);
  // Who serves a site follows from the nodes' roles, where the site does not say it.
  const sameServers = isDeepStrictEqual(serversOf(before), serversOf(after));
  const isFollowing = (place: string) =>
    (place.startsWith('the order of') && whole.length > 0) || (place.endsWith('.serve') && !sameServers);
  const parts = [...new Set([...old.keys(), ...next.keys()])].filter(
    (place) =>
      !isDeepStrictEqual(old.get(place), next.get(place)) &&
      !isFollowing(place) &&
      !whole.some((one) => place.startsWith(`${one}.`)),
  );
  const contents = after.sites.flatMap((site) => {
    const was = before.sites.find(({ name }) => name === site.name);
    return was === undefined ? [] : changedContent(was, site);
  });
  return [...whole, ...parts, ...contents];
}

/** Names of the sites whose policy differs. */
export function changedPolicies(before: readonly SiteConfig[], after: readonly SiteConfig[]): string[] {
  return after
    .filter((site, index) => !isDeepStrictEqual(site.policy, before[index].policy))
    .map((site) => site.name);
}
