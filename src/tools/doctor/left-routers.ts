/**
 * Routers that are on an interface although their node's process has ended: the tc filters stay by design (a guard
 * outlives what it guards against), and so do the public addresses. The next `baton serve` takes their place; on a
 * machine that is no node any more, `baton doctor --clean` removes them.
 */

import { attachedProgram, TC_EGRESS, TC_INGRESS } from '../../kernel/linux/bpf.ts';
import { holderOf, programInfo } from '../../kernel/linux/bpf-info.ts';
import { interfaceIndex } from '../../kernel/linux/interface.ts';
import { type GuardedAddress, guardedBy } from '../../kernel/router/guarded.ts';
import { detach } from '../../kernel/router/router.ts';
import { attempt, run } from '../lab/system.ts';

const PROGRAM_NAME = /^baton_/;
/** Hold no sequence numbers that anybody could still be sent. */
const QUIET_STATES = new Set(['LISTEN', 'TIME-WAIT']);

export interface LeftRouter {
  readonly interface: string;
  /** The public addresses it guards, and the interface that they are on while a node runs. */
  readonly addresses: readonly GuardedAddress[];
}

/** The routers in this network namespace whose process has ended. Throws SystemError without the permission to look. */
export function leftRouters(): LeftRouter[] {
  const links = JSON.parse(run(['ip', '-j', 'link', 'show'])) as Array<{ ifname: string }>;
  return links.flatMap(({ ifname }) => {
    const index = interfaceIndex(ifname);
    const ids = [TC_INGRESS, TC_EGRESS]
      .map((direction) => attachedProgram(index, direction))
      .filter((id) => id !== 0);
    const programs = ids.map(programInfo);
    if (!programs.some(({ name }) => PROGRAM_NAME.test(name))) return [];
    if (ids.some((id) => holderOf(id) !== undefined)) return [];
    return [{ interface: ifname, addresses: guardedBy(ifname, programs[0].mapIds) }];
  });
}

/** Sockets that may still send from these addresses: those of the ended process close for up to two minutes. */
function busySockets(addresses: LeftRouter['addresses']): number {
  const sources = addresses.map(({ address }) => `src ${address.includes(':') ? `[${address}]` : address}`);
  if (sources.length === 0) return 0;
  const lines = run(['ss', '-Htan', sources.join(' or ')]).split('\n');
  return lines.filter((line) => line !== '' && !QUIET_STATES.has(line.split(/\s+/)[0])).length;
}

/**
 * Removes a router and the public addresses it guards; a clsact and the filters of others stay. The addresses go
 * first: without the router this machine would answer ARP for those of other nodes. Returns what was done, in words,
 * or why nothing was.
 */
export function removeRouter(left: LeftRouter): string {
  const busy = busySockets(left.addresses);
  if (busy > 0) {
    return `${left.interface}: left alone, ${busy} connections of the ended process are still closing; try again in two minutes`;
  }
  const removed = left.addresses.filter(({ address, device }) => {
    const prefix = address.includes(':') ? 128 : 32;
    return attempt(['ip', 'address', 'del', `${address}/${prefix}`, 'dev', device]).code === 0;
  });
  detach(left.interface);
  const addresses = removed.map(({ address }) => address).join(', ') || 'no address';
  return `${left.interface}: removed the router, and ${addresses}`;
}
