/**
 * The router of a node: loaded once, attached to the interface, shared by the engines. It stays attached when the
 * process dies, so that the guard goes on guarding; flows in which targets owe something end by themselves (ALIVE_LEASE_MS),
 * and the next start takes its place and ends the others.
 */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { isMapped, parseAddress } from '../../base/address.ts';
import {
  attachedProgram,
  attachToCgroup,
  attachToInterface,
  detachFromInterface,
  KernelMap,
  KernelObject,
  mapMemory,
  TC_EGRESS,
  TC_INGRESS,
} from '../linux/bpf.ts';
import { openMapNamed, openMapOf, programInfo } from '../linux/bpf-info.ts';
import { EPERM, SystemError } from '../linux/errors.ts';
import { interfaceIndex } from '../linux/interface.ts';
import * as libc from '../linux/libc.ts';
import { allocate } from '../linux/memory.ts';
import { SOL_SOCKET, tcpSocket } from '../linux/socket.ts';
import { Control } from './control.ts';
import { writeFlowKey } from './flow-key.ts';
import {
  CONTROL_BYTES,
  CONTROL_ENDED,
  CONTROL_FLAGS,
  CONTROL_NODE_ORDER,
  CONTROL_PORT,
  CONTROL_ROUTES,
  CONTROL_SPREAD,
  CONTROL_TLS_PORT,
  COUNTERS,
  KEY_BYTES,
  PUBLIC_FOREIGN,
  PUBLIC_OWN,
  type RouterCounter,
} from './layout.ts';
import { type LeftFlow, LeftFlows } from './left-flows.ts';
import { keepsPlaces, NO_ORDER, nodeOrder } from './node-order.ts';
import type { RouterHandles } from './router-engine.ts';

/** The object is committed beside its source, and copied by nobody: this finds it from dist/ as well as from src/. */
export const ROUTER_OBJECT =
  ['../../../../src/kernel/router/router.bpf.o', './router.bpf.o']
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path)) ?? 'router.bpf.o';

const SO_NETNS_COOKIE = 71;

/**
 * What outlives a process, so that connections diverted to other nodes go on through its end and its successor's
 * start. Taken over from the router that is attached, if there is one.
 */
const INHERITED_MAPS = ['ended'];
/** Maps whose entries name nodes by their places in the file: taken over only while these are the same. */
const INHERITED_WITH_PLACES = ['routes', 'spread', 'spread_syns', 'spread_table', 'heirs', 'peers'];

interface Predecessor {
  /** To take over; closed by the caller once the new object holds them. */
  readonly maps: Readonly<Record<string, number>>;
  /** The nodes have other places in its file. */
  readonly misplaced: boolean;
  /** What its process did not end. Closed by the caller. */
  readonly left: LeftFlows | null;
}

/**
 * The router that is attached. Null when this process may not take over from it (bpf(2): maps by their ids only with
 * CAP_SYS_ADMIN).
 */
function predecessorOf(interfaceName: string, nodes: readonly string[]): Predecessor | null {
  const program = attachedProgram(interfaceIndex(interfaceName), TC_INGRESS);
  if (program === 0) return { maps: {}, misplaced: false, left: null };
  try {
    const { mapIds } = programInfo(program);
    const misplaced = !keepsPlaces(nodeOrderOf(mapIds), nodes);
    const names = misplaced ? INHERITED_MAPS : [...INHERITED_MAPS, ...INHERITED_WITH_PLACES];
    const maps = names.map((name) => [name, openMapNamed(mapIds, name)] as const);
    const found = Object.fromEntries(maps.filter(([, fd]) => fd >= 0));
    return { maps: found, misplaced, left: new LeftFlows(mapIds) };
  } catch (error) {
    if (error instanceof SystemError && error.errno === EPERM) return null;
    throw error;
  }
}

/** What the process before has written of its file. */
function nodeOrderOf(mapIds: readonly number[]): number {
  const fd = openMapOf(mapIds, { name: 'control', keyBytes: 4, valueBytes: CONTROL_BYTES });
  if (fd < 0) return NO_ORDER;
  const control = new KernelMap(fd, 4, CONTROL_BYTES);
  const order = control.lookup() ? control.value.bytes.readUInt32LE(CONTROL_NODE_ORDER) : NO_ORDER;
  libc.close(fd);
  return order;
}

export interface RouterOptions {
  readonly interface: string;
  /** The node's own address, to ask ARP with; textual. */
  readonly address: string;
  /** Public addresses by textual form, and whether this node owns them. */
  readonly publics: ReadonlyArray<{ readonly address: string; readonly own: boolean }>;
  /** The port that clients connect to. */
  readonly port: number;
  /** Null: no site has TLS. */
  readonly tlsPort: number | null;
  readonly engines: number;
  readonly flows: number;
  /** Names, in the configuration's order: what owners are counted in. */
  readonly nodes: readonly string[];
}

/** The unified cgroup hierarchy, if it is mounted. */
export function findCgroup2(): string | null {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path, type] = line.split(' ');
    if (type === 'cgroup2' && path !== undefined) return path;
  }
  return null;
}

function netnsCookie(): bigint {
  const fd = tcpSocket(parseAddress('127.0.0.1'));
  const value = allocate(8);
  const length = allocate(4);
  length.bytes.writeUInt32LE(8, 0);
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, value.address, length.address);
  libc.close(fd);
  return result < 0 ? 0n : value.bytes.readBigUInt64LE(0);
}

/** Whether a router of ours is on the interface: from a running node, or left by a crash. */
export function isAttached(interfaceName: string): boolean {
  const index = interfaceIndex(interfaceName);
  return attachedProgram(index, TC_INGRESS) !== 0 || attachedProgram(index, TC_EGRESS) !== 0;
}

/** Takes away what a crashed node left on an interface. Returns whether there was something. */
export function detach(interfaceName: string): boolean {
  const index = interfaceIndex(interfaceName);
  const ingress = detachFromInterface(index, TC_INGRESS);
  return detachFromInterface(index, TC_EGRESS) || ingress;
}

export class Router {
  readonly handles: RouterHandles;
  /** Routes and spread come from a router that was attached before: of a node that left, or crashed. */
  readonly inherited: boolean;
  /** There was a router, but this process may not take over from it: CAP_SYS_ADMIN is missing. */
  readonly disinherited: boolean;
  /**
   * There was a router, but where its routes lead cannot be known: the nodes have other places in the configuration
   * now.
   */
  readonly misplaced: boolean;
  readonly #object: KernelObject;
  readonly #interface: string;
  readonly #counters: KernelMap;
  readonly #cpus: number;
  readonly #ended: KernelMap;
  #before: LeftFlows | null;
  #left: readonly LeftFlow[] = [];
  #sockOps = -1;

  constructor(options: RouterOptions) {
    const flowsPerEngine = Math.max(1, Math.floor(options.flows / options.engines));
    const totalFlows = flowsPerEngine * options.engines;
    // A flow's entry may be replaced by its successor's before it goes, so there is room for both.
    const maxEntries = {
      slots: 2 * totalFlows,
      flows: totalFlows,
      observed: totalFlows,
      routes: totalFlows,
      ended: totalFlows,
    };
    const predecessor = predecessorOf(options.interface, options.nodes);
    this.disinherited = predecessor === null;
    this.misplaced = predecessor?.misplaced ?? false;
    const maps = predecessor?.maps ?? {};
    this.#before = predecessor?.left ?? null;
    this.#object = new KernelObject(ROUTER_OBJECT, { maxEntries, maps });
    this.inherited = Object.keys(maps).length > 0;
    for (const fd of Object.values(maps)) libc.close(fd);
    this.#interface = options.interface;
    const fd = (name: string) => this.#object.mapFd(name);
    this.handles = {
      slots: fd('slots'),
      flows: fd('flows'),
      observed: fd('observed'),
      control: fd('control'),
      peers: fd('peers'),
      events: fd('events'),
      parkings: fd('parkings'),
      routes: fd('routes'),
      spreadTable: fd('spread_table'),
      heirs: fd('heirs'),
      ended: fd('ended'),
      deafFilter: this.#object.programFd('baton_deaf'),
      totalFlows,
      flowsPerEngine,
    };
    this.#cpus = possibleCpus();
    this.#counters = new KernelMap(fd('counters'), 4, 8 * this.#cpus);
    this.#setControl(options);
    this.#ended = new KernelMap(fd('ended'), KEY_BYTES, 4);
    this.#readLeft(false);
    this.#setPublics(fd('publics'), options.publics);
  }

  #setControl({ address, port, tlsPort, nodes }: RouterOptions): void {
    const control = mapMemory(this.handles.control, CONTROL_BYTES);
    const view = Buffer.from(control.view);
    view.writeBigUInt64LE(netnsCookie(), 8);
    const bytes = parseAddress(address);
    if (isMapped(bytes)) bytes.copy(view, 16, 12, 16);
    view.writeUInt16BE(port, CONTROL_PORT);
    view.writeUInt16BE(tlsPort ?? 0, CONTROL_TLS_PORT);
    view.writeUInt32LE(nodeOrder(nodes), CONTROL_NODE_ORDER);
    if (this.inherited)
      view.writeUInt32LE(CONTROL_SPREAD | CONTROL_ROUTES | CONTROL_ENDED, CONTROL_FLAGS * 4);
    control.unmap();
  }

  /** Connections that the process before was the anchor of: they are over. Without those whose client has begun anew. */
  get left(): readonly LeftFlow[] {
    return this.#left.filter(({ client, public: pub }) => {
      writeFlowKey(this.#ended.key.bytes, client, pub);
      return this.#ended.lookup();
    });
  }

  /** `isKnown`: read before. Whoever has begun anew since then is not taken for the one before. */
  #readLeft(isKnown: boolean): void {
    this.#left = this.#before?.read() ?? [];
    for (const { client, public: pub, expected } of this.#left) {
      writeFlowKey(this.#ended.key.bytes, client, pub);
      if (isKnown && !this.#ended.lookup()) continue;
      this.#ended.value.bytes.writeUInt32LE(expected, 0);
      this.#ended.update();
    }
  }

  /** The sockets of the process before are gone: for what comes of its connections the kernel answers by itself. */
  forgetLeft(): void {
    const control = new Control(this.handles.control);
    control.lower(CONTROL_ENDED);
    control.close();
  }

  #setPublics(fd: number, publics: RouterOptions['publics']): void {
    const map = new KernelMap(fd, 16, 4);
    for (const { address, own } of publics) {
      parseAddress(address).copy(map.key.bytes);
      map.value.bytes.writeUInt32LE(own ? PUBLIC_OWN : PUBLIC_FOREIGN, 0);
      map.update();
    }
  }

  /** Takes its place on the interface, and in the cgroup where congestion state is handed over. */
  attach(): void {
    const index = interfaceIndex(this.#interface);
    attachToInterface(this.#object.programFd('baton_egress'), index, TC_EGRESS);
    attachToInterface(this.#object.programFd('baton_ingress'), index, TC_INGRESS);
    // Rule ended has held from the first segment on; until then the one before has seen the clients go on.
    this.#readLeft(true);
    this.#closeBefore();
    const cgroup = findCgroup2();
    if (cgroup === null) return;
    const fd = openSync(cgroup, 'r');
    try {
      this.#sockOps = attachToCgroup(this.#object.programFd('baton_sockops'), fd);
    } catch (error) {
      // Without it a half-pipe starts with the kernel's initial window: slower, not wrong.
      if (!(error instanceof SystemError)) throw error;
    } finally {
      closeSync(fd);
    }
  }

  #closeBefore(): void {
    this.#before?.close();
    this.#before = null;
  }

  /** Whether congestion windows travel. */
  get carriesCongestion(): boolean {
    return this.#sockOps >= 0;
  }

  programFd(name: 'baton_ingress' | 'baton_egress'): number {
    return this.#object.programFd(name);
  }

  /** The counters, summed over CPUs. */
  counters(): Record<RouterCounter, number> {
    const out = {} as Record<RouterCounter, number>;
    COUNTERS.forEach((name, i) => {
      this.#counters.key.bytes.writeUInt32LE(i, 0);
      let sum = 0;
      if (this.#counters.lookup()) {
        for (let cpu = 0; cpu < this.#cpus; cpu++)
          sum += Number(this.#counters.value.bytes.readBigUInt64LE(cpu * 8));
      }
      out[name] = sum;
    });
    return out;
  }

  /** Leaves the interface; with `stay` the programs remain and go on diverting what lives elsewhere. */
  close(stay = false): void {
    this.#closeBefore();
    if (!stay) detach(this.#interface);
    if (this.#sockOps >= 0) libc.close(this.#sockOps);
    this.#object.close();
  }
}

/** How many values a per-CPU map has: the kernel counts possible CPUs, not those online. */
function possibleCpus(): number {
  const text = readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim();
  const last = Number(text.split(/[-,]/).at(-1));
  return Number.isNaN(last) ? cpus().length : last + 1;
}
