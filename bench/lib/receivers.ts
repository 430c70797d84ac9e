/**
 * Who pays for a packet. Over veth the kernel does the receiver's work in the sender's time, so a node's processor
 * time would have its peers' work in it. With GRO and threaded NAPI each interface receives in a kernel thread of its
 * own, as a machine's own core would: a node's time is that of its process and of its interface's thread.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Lab } from '../../src/lab/lab.ts';
import { run } from '../../src/lab/system.ts';
import { pinClient, pinServer } from './processor.ts';

const INTERFACE = 'eth0';
const THREAD = `napi/${INTERFACE}-`;

/** All receiving threads of interfaces of that name, of every network namespace. */
function threads(): Set<number> {
  const found = new Set<number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (readFileSync(`/proc/${entry}/comm`, 'utf8').startsWith(THREAD)) found.add(Number(entry));
    } catch {
      // Ended between readdir and read.
    }
  }
  return found;
}

/** Lets an interface receive in a thread of its own; returns the thread. It ends with the interface. */
function separate(namespace: string): number {
  const before = threads();
  const threaded = `/sys/class/net/${INTERFACE}/threaded`;
  // `ip netns exec`, for it is the one that mounts the namespace's own /sys.
  const commands = `ethtool -K ${INTERFACE} gro on && echo 1 > ${threaded}`;
  run(['ip', 'netns', 'exec', namespace, 'sh', '-c', commands]);
  const [thread] = [...threads()].filter((pid) => !before.has(pid));
  if (thread === undefined) throw new Error(`${namespace}: no thread of NAPI for ${INTERFACE}`);
  return thread;
}

/** Separates every node's receiving, and the client's, onto the cores of their processes. Threads by node. */
export function receivers(lab: Lab): ReadonlyMap<string, number> {
  const out = new Map<string, number>();
  for (const { name, namespace } of lab.nodes) {
    const thread = separate(namespace);
    pinServer(thread);
    out.set(name, thread);
  }
  pinClient(separate(lab.plan.client.namespace));
  return out;
}
