/**
 * Processor time, and who runs where: servers on the first core, clients on the last, so that the client's load is
 * the same for every system.
 *
 * What the kernel does for a packet is charged to whoever caused it. Over veth that is mostly the sender: a node's
 * time has the way of its packets to the client in it, but not what it costs to receive the client's. (Threaded NAPI,
 * which would separate the two, is not used by veth while the sender segments by TSO.)
 */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { attempt, run } from '../../src/tools/lab/system.ts';

export const SERVER_CORE = 0;
export const CLIENT_CORE = availableParallelism() - 1;
/** Of /proc/stat; USER_HZ, the same on every architecture Linux has. */
const TICK_NS = 10_000_000;
/** utime among the fields of /proc/PID/stat that follow the name; stime is next. */
const STAT_UTIME = 11;
/** user, nice, system, irq, softirq in a line of /proc/stat. */
const BUSY_FIELDS = [1, 2, 3, 6, 7];
const SOFTIRQ_FIELD = 7;

/** The process and its children (nginx's workers). */
function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))];
}

/**
 * Nanoseconds that all threads of a process and of its children have run, user and system: the sum that utime and
 * stime of /proc/PID/stat split up, without its rounding to ticks.
 */
export function cpuNs(pid: number): number {
  let total = 0;
  for (const one of withChildren(pid)) {
    for (const thread of readdirSync(`/proc/${one}/task`)) {
      total += Number(readFileSync(`/proc/${one}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    }
  }
  return total;
}

/** How a process and its children spent it: user and system time, in steps of 10 ms. */
export function userAndSystemNs(pid: number): { user: number; system: number } {
  const sum = { user: 0, system: 0 };
  for (const one of withChildren(pid)) {
    const text = readFileSync(`/proc/${one}/stat`, 'utf8');
    const [user, system] = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .slice(STAT_UTIME, STAT_UTIME + 2);
    sum.user += Number(user) * TICK_NS;
    sum.system += Number(system) * TICK_NS;
  }
  return sum;
}

/** Of a line of /proc/stat, the sum of some of its fields. */
function statNs(line: number, fields: readonly number[]): number {
  const values = readFileSync('/proc/stat', 'utf8').split('\n')[line].split(/\s+/);
  return fields.reduce((sum, field) => sum + Number(values[field]), 0) * TICK_NS;
}

/** Nanoseconds that all cores together have been busy, interrupts included; in steps of 10 ms. */
export const machineCpuNs = (): number => statNs(0, BUSY_FIELDS);

/** Nanoseconds that a core has spent in soft interrupts, which is where packets are received; in steps of 10 ms. */
export const softirqNs = (core: number): number => statNs(core + 1, [SOFTIRQ_FIELD]);

/** How often it is tried anew when a thread has ended between being listed and being moved. */
const PIN_ATTEMPTS = 5;

function pin(pid: number, core: number): void {
  for (const one of withChildren(pid)) {
    const command = ['taskset', '-a', '-p', '-c', String(core), String(one)];
    let tries = 1;
    while (tries < PIN_ATTEMPTS && attempt(command).code !== 0) tries++;
    if (tries === PIN_ATTEMPTS) run(command);
  }
}

/** All threads of a process, and of its children, onto the servers' core. */
export const pinServer = (pid: number): void => pin(pid, SERVER_CORE);

/** Onto the clients'. */
export const pinClient = (pid: number): void => pin(pid, CLIENT_CORE);

/** A client's command, on the clients' core. */
export const pinnedClient = (argv: readonly string[]): string[] => [
  'taskset',
  '-c',
  String(CLIENT_CORE),
  ...argv,
];
