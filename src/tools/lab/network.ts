/**
 * The lab's network: a namespace with a bridge, one for each node and one for the client, joined by veth pairs.
 * When the client's link is slow or lossy, a namespace of its own stands between the client and the bridge; when it has
 * a small MTU, a router. Nothing is added to the namespace that this process runs in.
 *
 *   node a: eth0 --- p-a |        |
 *   node b: eth0 --- p-b | bridge | p-client --- eth0 :client
 *                        |        | p-client --- net0 (hop) client0 --- net0 (router) client0 --- eth0 :client
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { clientHosts, type LabPlan, NAMESPACE_DIRECTORY, namespacePrefix } from './plan.ts';
import { attempt, run } from './system.ts';

const ETC_NETNS = '/etc/netns';
const NETEM_QUEUE_FRAMES = 16384;
const TBF_LATENCY_MS = 50;
const TBF_BURST_MS = 4;
const TBF_MIN_BURST_BYTES = 16 * 1024;
/** The router's addresses, on the nodes' side and on the client's. */
const ROUTER = { net: '10.77.0.254', net6: 'fd77::254', client: '10.77.0.253', client6: 'fd77::253' };
const OFFLOADS = ['tso', 'gso', 'gro', 'tx', 'sg'];

/** nsenter(1)'s option that names a namespace. */
export const netOption = (namespace: string): string => `--net=${join(NAMESPACE_DIRECTORY, namespace)}`;

/** Runs a command in a namespace. /sys stays that of the machine, which `ip netns exec` would hide. */
export const inNamespace = (namespace: string, argv: readonly string[]): string[] => [
  'nsenter',
  netOption(namespace),
  ...argv,
];

/** Runs a command in the client's namespace with the client's own /etc/hosts. */
export const inClient = (plan: LabPlan, argv: readonly string[]): string[] => [
  'ip',
  'netns',
  'exec',
  plan.client.namespace,
  ...argv,
];

function ip(namespace: string, lines: readonly string[]): void {
  run(['ip', '-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
}

/** Writes sysctls below net/ in a namespace. */
function sysctl(namespace: string, values: Readonly<Record<string, number>>): void {
  const script = Object.entries(values).map(([key, value]) => `echo ${value} > /proc/sys/net/${key}`);
  run(inNamespace(namespace, ['sh', '-e']), `${script.join('\n')}\n`);
}

/** Addresses work at once (no duplicate address detection), come from nobody else, and any path may answer. */
const HOST_SYSCTLS = {
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': 0,
  'ipv6/conf/all/accept_dad': 0,
  'ipv6/conf/default/accept_dad': 0,
  'ipv6/conf/all/accept_ra': 0,
  'ipv6/conf/default/accept_ra': 0,
};

/** Settings for interfaces that were made before the defaults were set. */
const withoutDad = (...names: string[]): Record<string, number> =>
  Object.fromEntries(names.map((name) => [`ipv6/conf/${name}/accept_dad`, 0]));

const NO_IPV6 = { 'ipv6/conf/all/disable_ipv6': 1, 'ipv6/conf/default/disable_ipv6': 1 };

export function namespacesOf(plan: LabPlan): string[] {
  const hosts = [...plan.nodes.map((node) => node.namespace), plan.client.namespace];
  return [plan.bridgeNamespace, ...namespacesBetween(plan), ...hosts];
}

/** What stands between the bridge and the client. */
function namespacesBetween(plan: LabPlan): string[] {
  return [plan.hopNamespace, plan.routerNamespace].filter((namespace) => namespace !== null);
}

/** Builds everything but the shaping of the client's link. */
export function buildNetwork(plan: LabPlan): void {
  for (const namespace of namespacesOf(plan)) run(['ip', 'netns', 'add', namespace]);
  sysctl(plan.bridgeNamespace, NO_IPV6);
  ip(plan.bridgeNamespace, [
    'link set lo up',
    // Without multicast snooping neighbour discovery needs no querier.
    'link add br0 type bridge forward_delay 0 mcast_snooping 0',
    'link set br0 up',
  ]);
  for (const node of plan.nodes) {
    connect(plan, `p-${node.name}`, 'eth0', node.namespace);
    host(node.namespace, node.address, node.address6);
  }
  const between = namespacesBetween(plan);
  if (plan.hopNamespace !== null) sysctl(plan.hopNamespace, NO_IPV6);
  connect(plan, 'p-client', between.length > 0 ? 'net0' : 'eth0', between[0] ?? plan.client.namespace);
  for (const [i, namespace] of between.entries()) {
    const next = between[i + 1] ?? plan.client.namespace;
    ip(namespace, [
      `link add client0 type veth peer name ${i + 1 < between.length ? 'net0' : 'eth0'} netns ${next}`,
      'link set net0 up',
      'link set client0 up',
    ]);
    if (namespace !== plan.hopNamespace) continue;
    singleFrames(plan.bridgeNamespace, 'p-client');
    singleFrames(namespace, 'net0');
    singleFrames(namespace, 'client0');
    singleFrames(next, i + 1 < between.length ? 'net0' : 'eth0');
  }
  if (plan.routerNamespace === null) host(plan.client.namespace, plan.client.address, plan.client.address6);
  else routeToClient(plan, plan.routerNamespace);
  const etc = join(ETC_NETNS, plan.client.namespace);
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, 'hosts'), clientHosts(plan));
  if (plan.rateBits > 0) limitRate(plan);
}

/** A veth pair from the bridge to a namespace. */
function connect(plan: LabPlan, port: string, name: string, namespace: string): void {
  ip(plan.bridgeNamespace, [
    `link add ${port} type veth peer name ${name} netns ${namespace}`,
    `link set ${port} master br0 up`,
  ]);
}

function host(namespace: string, address: string, address6: string): void {
  sysctl(namespace, { ...HOST_SYSCTLS, ...withoutDad('eth0') });
  ip(namespace, [
    'link set lo up',
    `address add ${address}/24 dev eth0`,
    `address add ${address6}/64 dev eth0 nodad`,
    'link set eth0 up',
  ]);
}

/**
 * The client behind a router, which has an address on each side. The small MTU is that of the route to the client: what
 * the client sends may be larger, so that it takes its link for an ordinary one.
 */
function routeToClient(plan: LabPlan, router: string): void {
  const { namespace, address, address6 } = plan.client;
  const forwarding = { 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 };
  sysctl(router, { ...HOST_SYSCTLS, ...withoutDad('net0', 'client0'), ...forwarding });
  ip(router, [
    `address add ${ROUTER.net}/24 dev net0`,
    `address add ${ROUTER.net6}/64 dev net0 nodad`,
    `address add ${ROUTER.client}/32 dev client0`,
    `address add ${ROUTER.client6}/128 dev client0 nodad`,
    `route add ${address}/32 dev client0 mtu lock ${plan.mtu}`,
    `route add ${address6}/128 dev client0 mtu lock ${plan.mtu}`,
  ]);
  sysctl(namespace, { ...HOST_SYSCTLS, ...withoutDad('eth0') });
  ip(namespace, [
    'link set lo up',
    `address add ${address}/32 dev eth0`,
    `address add ${address6}/128 dev eth0 nodad`,
    'link set eth0 up',
    `route add ${ROUTER.client}/32 dev eth0`,
    `route add ${ROUTER.client6}/128 dev eth0`,
    `route add 10.77.0.0/24 via ${ROUTER.client}`,
    `route add fd77::/64 via ${ROUTER.client6}`,
  ]);
  for (const node of plan.nodes)
    ip(node.namespace, [
      `route add ${address}/32 via ${ROUTER.net}`,
      `route add ${address6}/128 via ${ROUTER.net6}`,
    ]);
}

/** What leaves the interface is what would be on a wire: one packet a frame, checksums in place. */
function singleFrames(namespace: string, name: string): void {
  const settings = OFFLOADS.flatMap((offload) => [offload, 'off']);
  run(inNamespace(namespace, ['ethtool', '-K', name, ...settings]));
}

function limitRate(plan: LabPlan): void {
  const burst = Math.max(TBF_MIN_BURST_BYTES, Math.round((plan.rateBits / 8000) * TBF_BURST_MS));
  const tbf = `tbf rate ${Math.round(plan.rateBits)}bit burst ${burst} latency ${TBF_LATENCY_MS}ms`.split(
    ' ',
  );
  for (const node of plan.nodes) {
    run(['tc', '-n', node.namespace, 'qdisc', 'replace', 'dev', 'eth0', 'root', ...tbf]);
    run(['tc', '-n', plan.bridgeNamespace, 'qdisc', 'replace', 'dev', `p-${node.name}`, 'root', ...tbf]);
  }
}

/** Slows the client's link down with the kernel's netem; false when this kernel has none. */
export function shapeWithNetem(plan: LabPlan): boolean {
  if (plan.hopNamespace === null) return true;
  const netem =
    `netem delay ${plan.delayMs / 2}ms loss ${plan.lossPercent}% limit ${NETEM_QUEUE_FRAMES}`.split(' ');
  const add = (name: string): boolean =>
    attempt(['tc', '-n', plan.hopNamespace!, 'qdisc', 'replace', 'dev', name, 'root', ...netem]).code === 0;
  if (!add('client0') || !add('net0')) return false;
  ip(plan.hopNamespace, [
    'link add br0 type bridge forward_delay 0 mcast_snooping 0',
    'link set net0 master br0',
    'link set client0 master br0',
    'link set br0 up',
  ]);
  return true;
}

/** The namespaces a lab of that name has left, whatever state they are in. */
export function leftNamespaces(lab: string): string[] {
  const prefix = namespacePrefix(lab);
  if (!existsSync(NAMESPACE_DIRECTORY)) return [];
  return readdirSync(NAMESPACE_DIRECTORY).filter((name) => name.startsWith(prefix));
}

/** Removes every namespace of the lab; nothing must run in them any more. */
export function removeNetwork(lab: string): void {
  const namespaces = leftNamespaces(lab);
  // A namespace goes some time after its name; its veth pairs must not wait for that.
  for (const namespace of namespaces) {
    const links = attempt(['ip', '-n', namespace, '-o', 'link', 'show', 'type', 'veth']).stdout;
    for (const [, name] of links.matchAll(/^\d+: ([^@:\s]+)/gm))
      attempt(['ip', '-n', namespace, 'link', 'del', name]);
  }
  for (const namespace of namespaces) {
    const removed = attempt(['ip', 'netns', 'del', namespace]);
    const file = join(NAMESPACE_DIRECTORY, namespace);
    // Left by an `ip netns add` that was killed before it mounted anything there.
    if (removed.code !== 0 && existsSync(file)) unlinkSync(file);
  }
  try {
    for (const entry of readdirSync(ETC_NETNS))
      if (entry.startsWith(namespacePrefix(lab))) rmSync(join(ETC_NETNS, entry), { recursive: true });
    rmdirSync(ETC_NETNS);
  } catch (error) {
    // Other labs are there; or one that was going down at the same time has taken it away.
    if (!['ENOTEMPTY', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
