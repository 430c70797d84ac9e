/** Reads and checks the configuration file. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { boostSchema } from './boost-schema.ts';
import { checkEntries, didYouMean, type Entries } from './checks.ts';
import type {
  BoostConfig,
  ClusterConfig,
  ContentSource,
  NodeConfig,
  PolicyConfig,
  SiteConfig,
  TlsConfig,
} from './config.ts';
import { ConfigError, type ConfigProblem } from './error.ts';
import {
  type FileValue,
  fileSchema,
  keysAt,
  listenSchema,
  MIN_KEY_CHARACTERS,
  type NodeValue,
  nodeSchema,
  redirectSchema,
  type SiteValue,
  siteSchema,
} from './schema.ts';
import { hasOwn, Source, valueAt } from './source.ts';

const KEY_FILE_PREFIX = '@file:';
const KEY_HINT = 'make one with: (umask 077; openssl rand -hex 32 > /etc/baton/key)';

/** Loads a cluster's configuration. Throws ConfigError with all that is wrong. */
export function loadConfig(file: string): ClusterConfig {
  return openConfig(file).config;
}

/** As `loadConfig`, and returns the text as well, for messages that point into it. */
export function openConfig(file: string): { readonly config: ClusterConfig; readonly source: Source } {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const hint = 'give the path of the cluster file with --config FILE';
    throw new ConfigError([
      { file, line: 1, column: 1, message: `cannot be read: ${(error as Error).message}`, hint },
    ]);
  }
  const source = new Source(file, text);
  return { config: parseSource(source), source };
}

/** As `loadConfig`, from a text. Messages call it `file`, and its relative paths start at that file's directory. */
export function parseConfig(text: string, file: string): ClusterConfig {
  return parseSource(new Source(file, text));
}

function parseSource(source: Source): ClusterConfig {
  const parsed = fileSchema.safeParse(source.value);
  const problems = parsed.success ? [] : parsed.error.issues.flatMap((issue) => explain(source, issue));
  problems.push(...checkEntries(source, validEntries(source.value)));
  const key = readKey(source, problems);
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems);
  return build(source.file, key, parsed.data);
}

/** A schema issue in words, with its place. */
function explain(source: Source, issue: z.core.$ZodIssue): ConfigProblem[] {
  // A text may stand for a map of which it is the name: `policy: hash`.
  const parent = issue.path.slice(0, -1);
  const path = typeof valueAt(source.value, parent) === 'string' ? parent : issue.path;
  const name = path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const valid = keysAt(path);
    return issue.keys.map((key) => {
      const where = name === '' ? '' : ` in ${name}`;
      const hint = didYouMean(key, valid) || `valid keys: ${valid.join(', ')}`;
      return source.problem([...path, key], 'key', `unknown key ${printable(key)}${where}`, hint);
    });
  }
  if (issue.code === 'invalid_key') {
    const reason = issue.issues[0]?.message ?? 'is not valid';
    return [source.problem(path, 'key', `${printable(name)} ${reason}`)];
  }
  if (valueAt(source.value, path) === undefined) {
    const last = path.at(-1);
    const isThere = last !== undefined && hasOwn(valueAt(source.value, path.slice(0, -1)), last);
    const what = `missing key ${name}${isThere ? ' (it is empty)' : ''}`;
    const message = name === '' ? 'the file is empty' : what;
    return [source.problem(path, 'key', message, name === '' ? 'see examples/cluster.yaml' : '')];
  }
  const value = valueAt(source.value, path);
  const isUnquoted =
    issue.code === 'invalid_type' && issue.expected === 'string' && typeof value === 'number';
  const hint = isUnquoted ? 'put it in quotes' : '';
  return [source.problem(path, 'value', `${printable(name)} ${issue.message}`.trim(), hint)];
}

/** Text from the file is shown with control characters escaped, and bounded. */
function printable(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return /^[\x21-\x7e]+$/.test(shown) ? shown : JSON.stringify(shown);
}

function validEntries(value: unknown): Entries {
  const nodes = new Map<string, NodeValue>();
  const sites = new Map<number, SiteValue>();
  const rawNodes = valueAt(value, ['nodes']);
  const isNodeMap = typeof rawNodes === 'object' && rawNodes !== null && !Array.isArray(rawNodes);
  const named = isNodeMap ? Object.entries(rawNodes) : [];
  for (const [name, raw] of named) {
    const node = nodeSchema.safeParse(raw);
    if (node.success) nodes.set(name, node.data);
  }
  const rawSites = valueAt(value, ['sites']);
  for (const [index, raw] of (Array.isArray(rawSites) ? rawSites : []).entries()) {
    const site = siteSchema.safeParse(raw);
    if (site.success) sites.set(index, site.data);
  }
  const listen = listenSchema.safeParse(valueAt(value, ['listen']));
  const redirect = redirectSchema.safeParse(valueAt(value, ['redirect']));
  const boost = boostSchema.safeParse(valueAt(value, ['boost']));
  return {
    nodeNames: named.map(([name]) => name),
    nodes,
    sites,
    listen: listen.success ? listen.data : { port: 0, tlsPort: 0, tlsRekey: false },
    redirect: redirect.success ? redirect.data : undefined,
    boost: boost.success ? boost.data : undefined,
  };
}

/** The file that holds the cluster key; null when the key is in the configuration. */
export function keyFileOf(source: Source): string | null {
  const written = valueAt(source.value, ['cluster', 'key']);
  if (typeof written !== 'string' || !written.startsWith(KEY_FILE_PREFIX)) return null;
  return resolve(dirname(source.file), written.slice(KEY_FILE_PREFIX.length));
}

/** The cluster key itself; what is wrong with it is added to `problems`. */
function readKey(source: Source, problems: ConfigProblem[]): string {
  const path = ['cluster', 'key'];
  const written = valueAt(source.value, path);
  if (typeof written !== 'string' || written === '') return '';
  let key = written;
  const keyFile = keyFileOf(source);
  if (keyFile !== null) {
    try {
      key = readFileSync(keyFile, 'utf8').trim();
    } catch (error) {
      problems.push(
        source.problem(path, 'value', `the key file cannot be read: ${(error as Error).message}`, KEY_HINT),
      );
      return '';
    }
  }
  if (key.length < MIN_KEY_CHARACTERS) {
    const message = `the cluster key has ${key.length} characters; at least ${MIN_KEY_CHARACTERS} are needed`;
    problems.push(source.problem(path, 'value', message, KEY_HINT));
  }
  return key;
}

function build(file: string, key: string, value: FileValue): ClusterConfig {
  const base = dirname(resolve(file));
  const nodes = Object.entries(value.nodes).map(
    ([name, node]): NodeConfig => ({
      ...node,
      name,
      address6: node.address6 ?? null,
      boost: boostOf(value, node),
    }),
  );
  const sites = value.sites.map((site): SiteConfig => {
    const serving = nodes.filter(({ name, role }) => site.serve?.includes(name) ?? role === 'server');
    const content = Object.fromEntries(serving.map(({ name }) => [name, contentOf(site, name, base)]));
    const { name, hosts, mechanism, clone, catalogue, types } = site;
    const { bodyBytes = value.limits.bodyBytes } = site;
    const policy = policyOf(site, base);
    const tls = tlsOf(site, base);
    const cache = site.cache ?? null;
    return { name, hosts, content, policy, mechanism, clone, catalogue, tls, cache, bodyBytes, types };
  });
  const { accessLog } = value.observe;
  const observe = {
    ...value.observe,
    accessLog: accessLog === null || accessLog === '-' ? accessLog : resolve(base, accessLog),
  };
  const tlsPort = sites.some(({ tls }) => tls !== null) ? value.listen.tlsPort : null;
  const listen = { ...value.listen, tlsPort };
  const { limits, timeouts, engine, redirect, forward } = value;
  const { perAddress, perNetwork } = value.boost;
  const clientLimits = { perAddress, perNetwork };
  return {
    ...{ file: resolve(file), key, nodes, sites, listen, limits, timeouts, engine, redirect },
    ...{ forward, clientLimits, observe },
  };
}

/** A server's, with what holds for all where it says nothing; without boosters for a node that is none. */
function boostOf({ nodes, boost }: FileValue, node: NodeValue): BoostConfig {
  const all = Object.keys(nodes).filter((name) => nodes[name].role === 'booster');
  const own = node.boost ?? {};
  return {
    boosters: node.role === 'server' ? (own.boosters ?? boost.boosters ?? all) : [],
    onPermille: own.onPermille ?? boost.onPermille,
    offPermille: own.offPermille ?? boost.offPermille,
    sharePermille: own.sharePermille ?? boost.sharePermille,
    return: own.return ?? boost.return,
    firstByteMs: own.firstByteMs === undefined ? boost.firstByteMs : own.firstByteMs,
  };
}

function tlsOf({ tls }: SiteValue, base: string): TlsConfig | null {
  if (tls === undefined) return null;
  const { cert, key, minVersion, redirect, hsts } = tls;
  const pairs = tls.certificates ?? [{ cert: cert!, key: key! }];
  const certificates = pairs.map((pair) => ({
    cert: resolve(base, pair.cert),
    key: resolve(base, pair.key),
  }));
  return { certificates, minVersion, redirect, hstsSeconds: hsts ?? null };
}

function policyOf({ policy }: SiteValue, base: string): PolicyConfig {
  const { name, module, options } = policy;
  if (module !== undefined) return { kind: 'module', file: resolve(base, module), options };
  if (name === 'delegate') {
    const { percent = 0, requestsPerSecond = null, cpuPermille = null } = policy;
    return { kind: 'delegate', percent, requestsPerSecond, cpuPermille };
  }
  if (name !== 'class') return name!;
  const rules = policy.rules!.map((rule) => ({
    path: rule.path ?? null,
    regex: rule.regex ?? null,
    minBytes: rule.minBytes ?? null,
    maxBytes: rule.maxBytes ?? null,
    popularPermille: rule.popularPermille ?? null,
    nodes: rule.nodes,
    mechanism: rule.mechanism ?? null,
  }));
  return { kind: 'class', rules, fallback: policy.fallback ?? 'round-robin' };
}

function contentOf(site: SiteValue, node: string, base: string): ContentSource {
  if (Object.hasOwn(site.roots, node)) return { kind: 'root', root: resolve(base, site.roots[node]) };
  if (Object.hasOwn(site.upstreams, node)) return { kind: 'upstream', upstream: site.upstreams[node] };
  if (site.root !== undefined) return { kind: 'root', root: resolve(base, site.root) };
  return { kind: 'upstream', upstream: site.upstream! };
}
