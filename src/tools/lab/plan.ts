/** What a lab consists of, by its options alone: names, addresses, files, the cluster's configuration. */
import { join } from 'node:path';
import { Document, parse } from 'yaml';
import type { ClusterConfig } from '../../base/config/config.ts';
import { certificatesIn, type LabCertificates } from './authority.ts';
import { LabError } from './error.ts';

export const RUN_DIRECTORY = '/run/baton';
export const NAMESPACE_DIRECTORY = '/run/netns';
export const ADMIN_PORT = 9900;
export const MAX_LAB_NODES = 26;
/** The last letters: with boosters there are fewer nodes. */
const BOOSTER_NAMES = ['x', 'y', 'z'];

/** The least MTU of IPv6 (RFC 8200 section 5), and that of the lab's links. */
const MIN_MTU = 1280;
const MAX_MTU = 1500;

/** No `-`, so that the namespaces of one lab are never taken for another's. */
const LAB_NAME = /^[a-z0-9]{1,16}$/;
const RATE = /^(\d+(?:\.\d+)?)([kmg]?)bit$/;
const BITS = { '': 1, k: 1e3, m: 1e6, g: 1e9 } as const;

export interface LabOptions {
  /** 1 to 16 of a-z and 0-9; default `lab`. */
  readonly name?: string;
  /** Default 3. */
  readonly nodes?: number;
  /** Default 0: `x`, `y`, `z`. */
  readonly boosters?: number;
  readonly mechanism?: string;
  readonly policy?: string;
  /** Directory to serve; default: a generated site of byte ramps. */
  readonly root?: string;
  /** The rate of each node's link, in each direction: `100mbit`. */
  readonly rate?: string;
  /** Added to the client's round-trip time, half of it each way. */
  readonly delayMs?: number;
  /** Percent of the client's packets that are lost, each way. */
  readonly lossPercent?: number;
  /** The seed of the random loss; default 1. */
  readonly seed?: number;
  /**
   * The MTU of the link to the client, in bytes: a router stands before it, which refuses larger packets and says so
   * (ICMP). The client itself does not know, and offers the segments of an ordinary link.
   */
  readonly mtu?: number;
  /** The site is served over TLS, too; what clients are to trust is in the plan. */
  readonly tls?: boolean;
  /** `KEY=VALUE` with a dotted path into the configuration: `limits.idleSeconds=5`, `sites.0.policy=hash`. */
  readonly set?: readonly string[];
  /**
   * The command that is each node's process; default `baton serve`. It must answer GET /readyz on 127.0.0.1:9900.
   * Null builds the network only.
   */
  readonly command?: ((node: LabNode, plan: LabPlan) => readonly string[]) | null;
}

export interface LabNode {
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  readonly address6: string;
  /** IPv4 first, then IPv6; none at a booster. */
  readonly public: readonly string[];
  readonly isBooster: boolean;
}

export interface LabPlan {
  readonly name: string;
  readonly directory: string;
  readonly configFile: string;
  /** Null: without TLS. */
  readonly certificates: LabCertificates | null;
  readonly nodes: readonly LabNode[];
  readonly client: { readonly namespace: string; readonly address: string; readonly address6: string };
  readonly bridgeNamespace: string;
  /** Present when the client's link is slow or lossy. */
  readonly hopNamespace: string | null;
  /** Present when the client's link has a small MTU. */
  readonly routerNamespace: string | null;
  /** Rate of each node's link in bit/s, 0 when unlimited. */
  readonly rateBits: number;
  readonly delayMs: number;
  readonly lossPercent: number;
  readonly seed: number;
  /** The MTU of the link from the router to the client, 0 when there is no router. */
  readonly mtu: number;
}

export function checkLabName(name: string): string {
  if (LAB_NAME.test(name)) return name;
  throw new LabError('LAB_OPTION', `lab name ${JSON.stringify(name)}: use 1 to 16 of a-z and 0-9`);
}

export const namespacePrefix = (lab: string): string => `baton-${lab}-`;
export const labDirectory = (lab: string): string => join(RUN_DIRECTORY, lab);

/** Bits per second of a rate in tc's notation. */
export function parseRate(text: string): number {
  const parts = RATE.exec(text.toLowerCase());
  const bits = parts === null ? 0 : Number(parts[1]) * BITS[parts[2] as keyof typeof BITS];
  if (bits >= 8000) return bits;
  throw new LabError(
    'LAB_OPTION',
    `rate ${JSON.stringify(text)}: write it like 100mbit (kbit, mbit or gbit)`,
  );
}

function inRange(what: string, value: number, min: number, max: number): number {
  if (Number.isFinite(value) && value >= min && value <= max) return value;
  throw new LabError('LAB_OPTION', `${what} must be from ${min} to ${max}, not ${value}`);
}

export function planLab(options: LabOptions): LabPlan {
  const name = checkLabName(options.name ?? 'lab');
  const count = inRange('nodes', options.nodes ?? 3, 1, MAX_LAB_NODES);
  if (!Number.isInteger(count))
    throw new LabError('LAB_OPTION', `nodes must be a whole number, not ${count}`);
  const boosters = inRange('boosters', options.boosters ?? 0, 0, BOOSTER_NAMES.length);
  if (!Number.isInteger(boosters))
    throw new LabError('LAB_OPTION', `boosters must be a whole number, not ${boosters}`);
  if (boosters > 0) inRange('nodes, with boosters,', count, 1, MAX_LAB_NODES - BOOSTER_NAMES.length);
  const delayMs = inRange('delay (ms)', options.delayMs ?? 0, 0, 10_000);
  const lossPercent = inRange('loss (percent)', options.lossPercent ?? 0, 0, 100);
  const mtu = options.mtu === undefined ? 0 : inRange('mtu', options.mtu, MIN_MTU, MAX_MTU);
  const prefix = namespacePrefix(name);
  const directory = labDirectory(name);
  const servers = Array.from({ length: count }, (_, i) => String.fromCharCode('a'.charCodeAt(0) + i));
  const nodes = [...servers, ...BOOSTER_NAMES.slice(0, boosters)].map((letter, index): LabNode => {
    const own = index + 1;
    const isBooster = index >= count;
    return {
      name: letter,
      namespace: prefix + letter,
      address: `10.77.0.${own}`,
      address6: `fd77::${own}`,
      public: isBooster ? [] : [`10.77.0.${100 + own}`, `fd77::${100 + own}`],
      isBooster,
    };
  });
  return {
    name,
    directory,
    configFile: join(directory, 'config.yaml'),
    certificates: options.tls ? certificatesIn(join(directory, 'tls')) : null,
    nodes,
    client: { namespace: `${prefix}client`, address: '10.77.0.200', address6: 'fd77::200' },
    bridgeNamespace: `${prefix}net`,
    hopNamespace: delayMs > 0 || lossPercent > 0 ? `${prefix}hop` : null,
    routerNamespace: mtu > 0 ? `${prefix}router` : null,
    rateBits: options.rate === undefined ? 0 : parseRate(options.rate),
    delayMs,
    lossPercent,
    seed: options.seed ?? 1,
    mtu,
  };
}

/** The cluster's configuration as YAML, `--set` included. It is checked by whoever loads it. */
export function labConfig(plan: LabPlan, options: LabOptions, root: string): string {
  const nodes = plan.nodes.map(({ name, address, address6, public: addresses, isBooster }) => {
    const admin = `127.0.0.1:${ADMIN_PORT}`;
    const own = { address, address6, interface: 'eth0', admin };
    return [name, isBooster ? { role: 'booster', ...own } : { ...own, public: [...addresses] }];
  });
  const document = new Document({
    cluster: { key: `the key of the lab ${plan.name}` },
    nodes: Object.fromEntries(nodes),
    sites: [
      {
        name: 'default',
        hosts: ['*'],
        root,
        policy: options.policy ?? 'round-robin',
        mechanism: options.mechanism ?? 'anchor',
        ...(plan.certificates && { tls: { cert: plan.certificates.cert, key: plan.certificates.key } }),
      },
    ],
    observe: { servedBy: true, serverTiming: true },
  });
  for (const setting of options.set ?? []) {
    const equals = setting.indexOf('=');
    if (equals < 1)
      throw new LabError('LAB_OPTION', `--set ${setting}: write KEY=VALUE, for example limits.idleSeconds=5`);
    try {
      const value = document.createNode(parse(setting.slice(equals + 1)));
      document.setIn(setting.slice(0, equals).split('.'), value);
    } catch (error) {
      throw new LabError('LAB_OPTION', `--set ${setting}: ${(error as Error).message}`);
    }
  }
  return document.toString();
}

/** Everything that the lab's certificate is for: the nodes' addresses, and the names of sites. */
export function certificateNames(plan: LabPlan, { sites }: Pick<ClusterConfig, 'sites'>): string[] {
  const hosts = sites.flatMap((site) => site.hosts.filter((host) => host !== '*'));
  return [...hosts, ...plan.nodes.flatMap((node) => [node.name, `${node.name}6`, ...node.public])];
}

/** /etc/hosts of the client: `a` is node a's public IPv4 address, `a6` its IPv6 address. */
export function clientHosts(plan: LabPlan): string {
  const servers = plan.nodes.filter(({ isBooster }) => !isBooster);
  const lines = servers.flatMap((node) => [
    `${node.public[0]} ${node.name}`,
    `${node.public[1]} ${node.name}6`,
  ]);
  return `127.0.0.1 localhost\n::1 localhost\n${lines.join('\n')}\n`;
}
