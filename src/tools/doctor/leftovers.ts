/** What crashed runs left on this machine. */
import { leftNamespaces } from '../lab/network.ts';
import { bootId, labNames, readState } from '../lab/state.ts';
import { isAlive } from '../lab/system.ts';
import { describeAddress, leftAddresses } from './left-addresses.ts';
import { leftRouters } from './left-routers.ts';
import type { Finding } from './machine.ts';

/** Labs that left namespaces or files, with no process of theirs running any more. */
function staleLabs(): string[] {
  return labNames().filter((name) => {
    const state = readState(name);
    if (state === undefined) return true;
    if (state.bootId !== bootId()) return true;
    if (state.phase === 'building') return !isAlive(state.builder);
    const processes = Object.values(state.processes);
    return leftNamespaces(name).length === 0 || (processes.length > 0 && !processes.some(isAlive));
  });
}

/** Whether there is any, nobody can say. */
function unseen(finding: Pick<Finding, 'name' | 'purpose'>, { message }: Error): Finding {
  return { ...finding, state: 'warn', detail: `cannot look: ${message}`, remedy: 'run as root' };
}

function routerFinding(): Finding {
  const finding = {
    name: 'left-routers',
    purpose: 'routers (tc filters) and public addresses of nodes that ended without removing them',
    remedy:
      'start the node again, it takes their place; on a machine that is no node any more: baton doctor --clean',
  };
  try {
    const left = leftRouters();
    if (left.length === 0) return { ...finding, state: 'ok', detail: 'none' };
    const detail = left.map((router) => {
      const addresses = router.addresses.map(({ address }) => address).join(', ');
      return `${router.interface} (${addresses || 'no address'})`;
    });
    return { ...finding, state: 'warn', detail: detail.join('; ') };
  } catch (error) {
    return unseen(finding, error as Error);
  }
}

function addressFinding(): Finding {
  const finding = {
    name: 'left-addresses',
    purpose: "public addresses that Baton added and that no router guards: they may be another node's by now",
    remedy: 'baton doctor --clean; a node that starts removes them as well',
  };
  try {
    const left = leftAddresses().map(describeAddress);
    return { ...finding, state: left.length === 0 ? 'ok' : 'warn', detail: left.join(', ') || 'none' };
  } catch (error) {
    return unseen(finding, error as Error);
  }
}

export function checkLeftovers(): Finding[] {
  const stale = staleLabs();
  return [
    {
      name: 'stale-labs',
      state: stale.length === 0 ? 'ok' : 'warn',
      detail: stale.length === 0 ? 'none' : stale.join(', '),
      purpose: 'labs that ended without being taken down',
      remedy: stale.map((name) => `baton lab down --name ${name}`).join('; '),
    },
    routerFinding(),
    addressFinding(),
  ];
}
