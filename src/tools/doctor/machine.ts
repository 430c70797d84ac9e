/**
 * Looks at the machine: each thing that Baton needs is tried, not guessed from versions, and in network namespaces
 * made for the purpose where trying would change something.
 */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { arch, release } from 'node:os';
import koffi from 'koffi';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
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

/** What a check found: undefined when all is well, or what is wrong. */
type Outcome = { readonly ok: boolean; readonly detail: string };

const MIN_NODE_MAJOR = 20;
/** bpf_get_netns_cookie in sock_ops. */
const MIN_KERNEL = [5, 15];
const WANTED_FILES = 16_384;

function finding(
  name: string,
  level: 'warn' | 'missing',
  purpose: string,
  remedy: string,
  look: () => Outcome,
): Finding {
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

export function inspectMachine(): Finding[] {
  return [
    finding('node', 'missing', 'running Baton', `install Node.js ${MIN_NODE_MAJOR} or later`, nodeVersion),
    finding(
      'kernel',
      'missing',
      'eBPF ring buffers, TCP_REPAIR, openat2',
      'Linux 5.15 or later',
      kernelVersion,
    ),
    finding(
      'tcp-repair',
      'missing',
      'moving connections between nodes',
      `${CAPABILITIES}; the kernel needs CONFIG_CHECKPOINT_RESTORE`,
      tcpRepair,
    ),
    finding(
      'raw-sockets',
      'missing',
      'continuing a connection in a restored socket',
      CAPABILITIES,
      rawSocket,
    ),
    finding(
      'bpf',
      'missing',
      'the router',
      `${CAPABILITIES}; the kernel needs CONFIG_BPF_SYSCALL`,
      bpfSystemCall,
    ),
    finding('libbpf', 'missing', 'loading the router', debian('libbpf1'), libbpf),
    finding(
      'btf',
      'warn',
      'tools that show the router (bpftool)',
      'a kernel with CONFIG_DEBUG_INFO_BTF',
      btf,
    ),
    finding('tc', 'missing', 'attaching the router', debian('iproute2'), () => tool('tc', '-V')),
    finding(
      'cls_bpf',
      'missing',
      'attaching the router',
      'a kernel with CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF',
      clsBpf,
    ),
    finding(
      'cgroup2',
      'warn',
      'taking congestion state along when a connection moves',
      'mount -t cgroup2 none /sys/fs/cgroup',
      cgroup2,
    ),
    finding(
      'open-files',
      'warn',
      'many connections',
      `ulimit -n 65536, or LimitNOFILE=65536 in the service`,
      openFiles,
    ),
    finding('ip', 'warn', 'the lab', debian('iproute2'), () => tool('ip', '-V')),
    finding('nsenter', 'warn', 'the lab', debian('util-linux'), () => tool('nsenter', '--version')),
    finding('curl', 'warn', 'the lab', debian('curl'), () => tool('curl', '--version')),
    finding('ethtool', 'warn', 'the lab with --delay or --loss', debian('ethtool'), () =>
      tool('ethtool', '--version'),
    ),
    finding(
      'namespaces',
      'warn',
      'the lab',
      'run as root; the kernel needs CONFIG_NET_NS and CONFIG_VETH',
      namespaces,
    ),
    finding('tbf', 'warn', 'the lab with --rate', 'a kernel with CONFIG_NET_SCH_TBF (sch_tbf)', () =>
      inNewNamespace('tc qdisc add dev lo root tbf rate 1mbit burst 20000 latency 50ms'),
    ),
    finding(
      'netem',
      'warn',
      'the lab with --delay or --loss',
      'a kernel with CONFIG_NET_SCH_NETEM (sch_netem)',
      netem,
    ),
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
