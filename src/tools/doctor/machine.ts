/**
 * Looks at the machine: each thing that Baton needs is tried, not guessed from versions, and in network namespaces
 * made for the purpose where trying would change something.
 */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { arch, release } from 'node:os';
import koffi from 'koffi';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { openssl } from '../../kernel/linux/openssl.ts';
import { IPPROTO_TCP, SOCK_CLOEXEC, SOCK_STREAM, setOption } from '../../kernel/linux/socket.ts';
import { attempt } from '../lab/system.ts';

export interface Finding {
  readonly name: string;
  /** `missing`: cannot serve. `warn`: something is less than it could be, or only the lab is concerned. */
  readonly state: 'ok' | 'warn' | 'missing';
  readonly detail: string;
  /** What it is for. */
  readonly purpose: string;
  /** How to get it. */
  readonly remedy: string;
}

/** What a check found, and what there is or what is wrong. */
type Outcome = { readonly ok: boolean; readonly detail: string };

/** A row of the tables below. */
interface Check extends Pick<Finding, 'name' | 'purpose' | 'remedy'> {
  look(): Outcome;
}

const MIN_NODE_MAJOR = 20;
/** bpf_get_netns_cookie in sock_ops. */
const MIN_KERNEL = [5, 15];
const WANTED_FILES = 16_384;

function finding({ name, purpose, remedy, look }: Check, level: 'warn' | 'missing'): Finding {
  let outcome: Outcome;
  try {
    outcome = look();
  } catch (error) {
    outcome = { ok: false, detail: (error as Error).message };
  }
  return { name, state: outcome.ok ? 'ok' : level, detail: outcome.detail, purpose, remedy };
}

/** Tries a command in a network namespace that ends with it. */
function inNewNamespace(script: string): Outcome {
  const { code, stderr } = attempt(['unshare', '--net', 'sh', '-e'], `${script}\n`);
  return { ok: code === 0, detail: code === 0 ? 'works' : (stderr.trim().split('\n')[0] ?? 'fails') };
}

const debian = (...packages: string[]): string => `apt-get install ${packages.join(' ')}`;
const CAPABILITIES = 'run as root, or give the service CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON';

/** Without one of these a node cannot serve. */
const NEEDED: readonly Check[] = [
  {
    name: 'node',
    purpose: 'running Baton',
    remedy: `install Node.js ${MIN_NODE_MAJOR} or later`,
    look: nodeVersion,
  },
  {
    name: 'kernel',
    purpose: 'eBPF ring buffers, TCP_REPAIR, openat2',
    remedy: 'Linux 5.15 or later',
    look: kernelVersion,
  },
  {
    name: 'tcp-repair',
    purpose: 'moving connections between nodes',
    remedy: `${CAPABILITIES}; the kernel needs CONFIG_CHECKPOINT_RESTORE`,
    look: tcpRepair,
  },
  {
    name: 'raw-sockets',
    purpose: 'continuing a connection in a restored socket',
    remedy: CAPABILITIES,
    look: rawSocket,
  },
  {
    name: 'bpf',
    purpose: 'the router',
    remedy: `${CAPABILITIES}; the kernel needs CONFIG_BPF_SYSCALL`,
    look: bpfSystemCall,
  },
  {
    name: 'openssl',
    purpose: 'encryption between nodes and https',
    remedy: debian('libssl3'),
    look: encryption,
  },
  { name: 'libbpf', purpose: 'loading the router', remedy: debian('libbpf1'), look: libbpf },
  { name: 'tc', purpose: 'attaching the router', remedy: debian('iproute2'), look: () => tool('tc', '-V') },
  {
    name: 'cls_bpf',
    purpose: 'attaching the router',
    remedy: 'a kernel with CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF',
    look: clsBpf,
  },
];

/** Without one of these a node serves, with less than it could have. */
const WANTED: readonly Check[] = [
  {
    name: 'btf',
    purpose: 'tools that show the router (bpftool)',
    remedy: 'a kernel with CONFIG_DEBUG_INFO_BTF',
    look: btf,
  },
  {
    name: 'cgroup2',
    purpose: 'taking congestion state along when a connection moves',
    remedy: 'mount -t cgroup2 none /sys/fs/cgroup',
    look: cgroup2,
  },
  {
    name: 'open-files',
    purpose: 'many connections',
    remedy: `ulimit -n 65536, or LimitNOFILE=65536 in the service`,
    look: openFiles,
  },
];

const OF_THE_LAB: readonly Check[] = [
  { name: 'ip', purpose: 'the lab', remedy: debian('iproute2'), look: () => tool('ip', '-V') },
  {
    name: 'nsenter',
    purpose: 'the lab',
    remedy: debian('util-linux'),
    look: () => tool('nsenter', '--version'),
  },
  { name: 'curl', purpose: 'the lab', remedy: debian('curl'), look: () => tool('curl', '--version') },
  {
    name: 'ethtool',
    purpose: 'the lab with --delay or --loss',
    remedy: debian('ethtool'),
    look: () => tool('ethtool', '--version'),
  },
  {
    name: 'namespaces',
    purpose: 'the lab',
    remedy: 'run as root; the kernel needs CONFIG_NET_NS and CONFIG_VETH',
    look: namespaces,
  },
  {
    name: 'tbf',
    purpose: 'the lab with --rate',
    remedy: 'a kernel with CONFIG_NET_SCH_TBF (sch_tbf)',
    look: () => inNewNamespace('tc qdisc add dev lo root tbf rate 1mbit burst 20000 latency 50ms'),
  },
  {
    name: 'netem',
    purpose: 'the lab with --delay or --loss',
    remedy: 'a kernel with CONFIG_NET_SCH_NETEM (sch_netem)',
    look: netem,
  },
];

export function inspectMachine(): Finding[] {
  return [
    ...NEEDED.map((check) => finding(check, 'missing')),
    ...[...WANTED, ...OF_THE_LAB].map((check) => finding(check, 'warn')),
  ];
}

function nodeVersion(): Outcome {
  const { node } = process.versions;
  return { ok: Number(node.split('.')[0]) >= MIN_NODE_MAJOR, detail: `${node} (${arch()})` };
}

function kernelVersion(): Outcome {
  const [major, minor] = release().split('.').map(Number);
  const ok = major > MIN_KERNEL[0] || (major === MIN_KERNEL[0] && minor >= MIN_KERNEL[1]);
  return { ok, detail: release() };
}

function withSocket(family: number, type: number, protocol: number, use: (fd: number) => void): Outcome {
  const fd = libc.socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) return { ok: false, detail: 'the socket cannot be opened (permission)' };
  try {
    use(fd);
  } finally {
    libc.close(fd);
  }
  return { ok: true, detail: 'permitted' };
}

function tcpRepair(): Outcome {
  const AF_INET = 2;
  const TCP_REPAIR = 19;
  return withSocket(AF_INET, SOCK_STREAM, 0, (fd) => setOption(fd, IPPROTO_TCP, TCP_REPAIR, 1));
}

function rawSocket(): Outcome {
  const AF_INET = 2;
  const SOCK_RAW = 3;
  const IPPROTO_RAW = 255;
  return withSocket(AF_INET, SOCK_RAW, IPPROTO_RAW, () => {});
}

/** Makes a ring buffer map, the youngest kind that the router uses, and closes it again. */
function bpfSystemCall(): Outcome {
  const BPF_MAP_CREATE = 0;
  const BPF_MAP_TYPE_RINGBUF = 27;
  const attributes = allocate(72);
  attributes.bytes.writeUInt32LE(BPF_MAP_TYPE_RINGBUF, 0);
  attributes.bytes.writeUInt32LE(64 * 1024, 12);
  const fd = libc.bpf(BPF_MAP_CREATE, attributes.address, attributes.bytes.length);
  if (fd < 0) return { ok: false, detail: 'a map cannot be made (permission, or no eBPF)' };
  libc.close(fd);
  return { ok: true, detail: 'permitted' };
}

/** Every function that is used is looked up when the library is loaded. */
function encryption(): Outcome {
  openssl();
  return { ok: true, detail: 'OpenSSL 3' };
}

function libbpf(): Outcome {
  koffi.load('libbpf.so.1').unload();
  return { ok: true, detail: 'libbpf.so.1' };
}

function btf(): Outcome {
  const file = '/sys/kernel/btf/vmlinux';
  return { ok: existsSync(file), detail: existsSync(file) ? file : `no ${file}` };
}

function tool(name: string, flag: string): Outcome {
  const { code, stdout, stderr } = attempt([name, flag]);
  const version = (stdout || stderr).trim().split('\n')[0];
  return { ok: code === 0, detail: code === 0 ? version : `no ${name} command` };
}

function clsBpf(): Outcome {
  return inNewNamespace(
    "tc qdisc add dev lo clsact\ntc filter add dev lo ingress bpf bytecode '1,6 0 0 4294967295,' direct-action",
  );
}

function cgroup2(): Outcome {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const mount = mounts.map((line) => line.split(' ')).find((fields) => fields[2] === 'cgroup2');
  if (mount === undefined) return { ok: false, detail: 'not mounted' };
  statfsSync(mount[1]);
  return { ok: true, detail: `mounted at ${mount[1]}` };
}

function openFiles(): Outcome {
  const line = /^Max open files\s+(\S+)\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  const soft = line?.[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line?.[1]);
  return { ok: soft >= WANTED_FILES, detail: `limit ${soft}` };
}

function namespaces(): Outcome {
  return inNewNamespace('ip link add v0 type veth peer name v1 && ip link add br0 type bridge');
}

/** Without netem the lab uses its own hop, so nothing is missing. */
function netem(): Outcome {
  const { ok } = inNewNamespace('tc qdisc add dev lo root netem delay 1ms');
  return { ok: true, detail: ok ? 'works' : "not in this kernel: the lab uses Baton's own hop" };
}
