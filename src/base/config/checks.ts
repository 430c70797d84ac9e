/**
 * What must hold between the entries of a configuration. These checks run also when some entries are wrong by
 * themselves, on those that are right, so that one run shows every problem.
 */
import type { BoostValue } from './boost-schema.ts';
import type { Role } from './config.ts';
import type { ConfigProblem } from './error.ts';
import { nearest } from './nearest.ts';
import { checkPolicy } from './policy-checks.ts';
import { MIN_REDIRECT_BAND_PERMILLE, type NodeValue, type RedirectValue, type SiteValue } from './schema.ts';
import type { Path, Source } from './source.ts';

/** The entries that are right by themselves. `nodeNames` has the others too. */
export interface Entries {
  readonly nodeNames: readonly string[];
  readonly nodes: ReadonlyMap<string, NodeValue>;
  /** Index in the file, and the site. */
  readonly sites: ReadonlyMap<number, SiteValue>;
  readonly listen: { readonly port: number; readonly tlsPort: number };
  readonly redirect: RedirectValue | undefined;
  readonly boost: BoostValue | undefined;
}

const WILDCARDS = new Set(['0.0.0.0', '::']);

export function checkEntries(source: Source, entries: Entries): ConfigProblem[] {
  return [
    ...checkAddresses(source, entries),
    ...checkPorts(source, entries),
    ...checkSites(source, entries),
    ...checkTls(source, entries),
    ...checkContent(source, entries),
    ...checkIdle(source, entries),
    ...checkRedirect(source, entries),
    ...checkBoost(source, entries),
  ];
}

function checkAddresses(source: Source, { nodes }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const seen = new Map<string, string>();
  const claim = (address: string, path: Path): void => {
    const owner = seen.get(address);
    const place = path.slice(1).join('.');
    if (owner === undefined) seen.set(address, place);
    else {
      const hint = 'every address belongs to one node, once';
      problems.push(source.problem(path, 'value', `duplicate address ${address}: ${owner} has it`, hint));
    }
  };
  for (const [name, node] of nodes) {
    claim(node.address, ['nodes', name, 'address']);
    if (node.address6 !== undefined) claim(node.address6, ['nodes', name, 'address6']);
    for (const [index, address] of node.public.entries()) claim(address, ['nodes', name, 'public', index]);
  }
  return problems;
}

function checkPorts(source: Source, { nodes, sites, listen }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const hasTls = [...sites.values()].some(({ tls }) => tls !== undefined);
  const taken = new Map([[listen.port, 'listen.port']]);
  if (hasTls && listen.tlsPort === listen.port) {
    const message = `port ${listen.tlsPort} is listen.port already`;
    problems.push(source.problem(['listen', 'tlsPort'], 'value', message, 'choose another port for TLS'));
  } else if (hasTls) taken.set(listen.tlsPort, 'listen.tlsPort');
  for (const [name, node] of nodes) {
    const before = taken.get(node.backplane);
    if (before !== undefined) {
      const message = `port ${node.backplane} is ${before} already`;
      problems.push(
        source.problem(['nodes', name, 'backplane'], 'value', message, 'choose another backplane port'),
      );
    }
    const own = [node.address, node.address6, ...node.public];
    const shared = WILDCARDS.has(node.admin.host) || own.includes(node.admin.host);
    const other =
      taken.get(node.admin.port) ??
      (node.admin.port === node.backplane ? `nodes.${name}.backplane` : undefined);
    if (shared && other !== undefined) {
      const message = `port ${node.admin.port} is ${other} already`;
      problems.push(source.problem(['nodes', name, 'admin'], 'value', message, 'choose another admin port'));
    }
  }
  return problems;
}

/** A certificate goes with a key; two ways to name them are one too many. */
function checkTls(source: Source, { sites }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const [index, { tls }] of sites) {
    if (tls === undefined) continue;
    const path = ['sites', index, 'tls'];
    const { cert, key, certificates } = tls;
    if (certificates !== undefined && (cert !== undefined || key !== undefined)) {
      const hint = 'move cert and key into the list';
      problems.push(
        source.problem([...path, 'certificates'], 'key', 'tls has certificates beside cert and key', hint),
      );
    } else if (certificates === undefined && (cert === undefined || key === undefined)) {
      const missing = cert === undefined ? 'cert' : 'key';
      const hint = 'write cert: FILE and key: FILE';
      problems.push(source.problem(path, 'key', `missing key ${path.join('.')}.${missing}`, hint));
    }
  }
  return problems;
}

function checkSites(source: Source, { sites }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const names = new Set<string>();
  const hosts = new Map<string, string>();
  for (const [index, site] of sites) {
    if (names.has(site.name)) {
      problems.push(source.problem(['sites', index, 'name'], 'value', `duplicate site name ${site.name}`));
    }
    names.add(site.name);
    for (const [at, host] of site.hosts.entries()) {
      const owner = hosts.get(host);
      if (owner === undefined) hosts.set(host, site.name);
      else {
        const hint =
          host === '*' ? 'one site at most is for all other hosts; name the hosts of the rest' : '';
        problems.push(
          source.problem(['sites', index, 'hosts', at], 'value', `site ${owner} has ${host} already`, hint),
        );
      }
    }
  }
  return problems;
}

function checkContent(source: Source, { sites, nodes, nodeNames }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const unknownNode = (path: Path, at: 'key' | 'value', name: string): ConfigProblem => {
    const hint = didYouMean(name, nodeNames) || `nodes are ${nodeNames.join(', ')}`;
    return source.problem(path, at, `unknown node ${name}`, hint);
  };
  for (const [index, site] of sites) {
    const path = ['sites', index];
    if (site.root !== undefined && site.upstream !== undefined) {
      const hint = 'remove one; roots and upstreams set single nodes apart';
      problems.push(
        source.problem([...path, 'upstream'], 'key', 'a site has a root or an upstream, not both', hint),
      );
    }
    for (const key of ['roots', 'upstreams'] as const) {
      for (const name of Object.keys(site[key])) {
        if (!nodeNames.includes(name)) problems.push(unknownNode([...path, key, name], 'key', name));
        else if (key === 'upstreams' && Object.hasOwn(site.roots, name)) {
          problems.push(
            source.problem([...path, key, name], 'key', `node ${name} has a root in this site already`),
          );
        }
      }
    }
    const isCovered = (name: string) =>
      Object.hasOwn(site.roots, name) || Object.hasOwn(site.upstreams, name);
    for (const [at, name] of (site.serve ?? []).entries()) {
      if (!nodeNames.includes(name)) problems.push(unknownNode([...path, 'serve', at], 'value', name));
    }
    const idle = namesOf(nodes, ...SERVES_NOTHING);
    const serving = nodeNames.filter((name) => site.serve?.includes(name) ?? !idle.includes(name));
    const bare = serving.filter((name) => !isCovered(name));
    if (site.root === undefined && site.upstream === undefined && bare.length > 0) {
      const message = `site ${site.name} has neither root nor upstream (node ${bare.join(', ')})`;
      problems.push(source.problem(path, 'key', message, 'add root: DIRECTORY or upstream: ADDRESS:PORT'));
    }
    problems.push(...checkUpstreams(source, index, site, nodes), ...checkCache(source, index, site));
    problems.push(...checkPolicy(source, index, site, serving));
  }
  return problems;
}

/**
 * A front only spreads connections, and a booster only takes them: somebody has to serve them. A front has to have
 * addresses to be reached at, and a booster none: it has its clients by those of servers.
 */
function checkIdle(source: Source, { sites, nodes, nodeNames }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const idle = namesOf(nodes, ...SERVES_NOTHING);
  if (idle.length === 0) return [];
  if (idle.length === nodeNames.length) {
    const hint = 'give one of them role: server';
    const message = 'every node is a front or a booster; none is left to serve';
    problems.push(source.problem(['nodes'], 'key', message, hint));
  }
  for (const name of idle) {
    const { role, public: addresses } = nodes.get(name)!;
    if ((role === 'front') === addresses.length > 0) continue;
    const path = ['nodes', name, role === 'front' ? 'role' : 'public'];
    const message = `${role} ${name} has ${role === 'front' ? 'no' : 'a'} public address`;
    const hint =
      role === 'front' ? 'add public: [ADDRESS]' : 'remove it: its clients come by those of servers';
    problems.push(source.problem(path, 'value', message, hint));
  }
  const refuse = (path: Path, at: 'key' | 'value', name: string) => {
    const hint = 'remove it, or give the node role: server';
    const { role } = nodes.get(name)!;
    problems.push(source.problem(path, at, `node ${name} is a ${role} and serves nothing`, hint));
  };
  for (const [index, site] of sites) {
    for (const name of idle) {
      const place = site.serve?.indexOf(name) ?? -1;
      if (place >= 0) refuse(['sites', index, 'serve', place], 'value', name);
      for (const key of ['roots', 'upstreams'] as const) {
        if (Object.hasOwn(site[key], name)) refuse(['sites', index, key, name], 'key', name);
      }
    }
  }
  return problems;
}

const SERVES_NOTHING = ['front', 'booster'] as const;

function namesOf(nodes: ReadonlyMap<string, NodeValue>, ...roles: readonly Role[]): string[] {
  return [...nodes].filter(([, node]) => roles.includes(node.role)).map(([name]) => name);
}

/** Boosters that are none, and two marks that would make it switch to and fro. */
function checkBoost(source: Source, { boost, nodes }: Entries): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const known = namesOf(nodes, 'booster');
  const check = (path: Path, boosters: readonly string[], onPermille: number, offPermille: number) => {
    for (const [at, name] of boosters.entries()) {
      if (known.includes(name)) continue;
      const hint = known.length > 0 ? `boosters are ${known.join(', ')}` : 'give a node role: booster';
      problems.push(source.problem([...path, 'boosters', at], 'value', `node ${name} is no booster`, hint));
    }
    if (offPermille < onPermille) return;
    const message = `offPermille (${offPermille}) is not below onPermille (${onPermille})`;
    problems.push(source.problem(path, 'value', message));
  };
  if (boost === undefined) return [];
  check(['boost'], boost.boosters ?? [], boost.onPermille, boost.offPermille);
  for (const [name, node] of nodes) {
    if (node.boost === undefined) continue;
    const path = ['nodes', name, 'boost'];
    const { boosters = [], onPermille = boost.onPermille, offPermille = boost.offPermille } = node.boost;
    if (node.role === 'server') check(path, boosters, onPermille, offPermille);
    else
      problems.push(source.problem(path, 'key', `${node.role} ${name} cannot be boosted: it serves nothing`));
  }
  return problems;
}

function checkRedirect(source: Source, { redirect }: Entries): ConfigProblem[] {
  if (redirect === undefined) return [];
  const { highPermille, lowPermille } = redirect;
  if (highPermille - lowPermille >= MIN_REDIRECT_BAND_PERMILLE) return [];
  const message = `redirect.lowPermille (${lowPermille}) is not ${MIN_REDIRECT_BAND_PERMILLE} below highPermille (${highPermille})`;
  return [
    source.problem(['redirect', 'lowPermille'], 'value', message, 'closer together they would make it flap'),
  ];
}

/** An upstream that is the node's own admin API would answer every request with the wrong thing. */
function checkUpstreams(
  source: Source,
  index: number,
  site: SiteValue,
  nodes: ReadonlyMap<string, NodeValue>,
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const [name, node] of nodes) {
    const own = Object.hasOwn(site.upstreams, name);
    const upstream = own ? site.upstreams[name] : site.upstream;
    if (upstream === undefined || upstream.port !== node.admin.port || upstream.host !== node.admin.host)
      continue;
    const path = ['sites', index, ...(own ? ['upstreams', name] : ['upstream'])];
    const message = `port ${upstream.port} is the admin API of node ${name}`;
    problems.push(source.problem(path, 'value', message, 'choose another port for one of them'));
    if (!own) break;
  }
  return problems;
}

function checkCache(source: Source, index: number, site: SiteValue): ConfigProblem[] {
  const { cache } = site;
  if (cache === undefined) return [];
  const path = ['sites', index, 'cache'];
  if (site.upstream === undefined && Object.keys(site.upstreams).length === 0) {
    const hint = 'files need none: limits.cacheBytes is for them';
    return [source.problem(path, 'key', 'a cache is of an upstream, and the site has none', hint)];
  }
  if (cache.objectBytes <= cache.bytes) return [];
  const message = `objectBytes (${cache.objectBytes}) is more than bytes (${cache.bytes})`;
  return [source.problem([...path, 'objectBytes'], 'value', message)];
}

/** `did you mean X?`, or nothing when no candidate is near. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const near = nearest(word, candidates);
  return near === undefined ? '' : `did you mean ${near}?`;
}
