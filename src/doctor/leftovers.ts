/** What crashed runs left on this machine. */
import { leftNamespaces } from '../lab/network.ts';
import { bootId, labNames, readState } from '../lab/state.ts';
import { isAlive } from '../lab/system.ts';
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

export async function checkLeftovers(): Promise<Finding[]> {
  const stale = staleLabs();
  return [
    {
      name: 'stale-labs',
      state: stale.length === 0 ? 'ok' : 'warn',
      detail: stale.length === 0 ? 'none' : stale.join(', '),
      purpose: 'labs that ended without being taken down',
      remedy: stale.map((name) => `baton lab down --name ${name}`).join('; '),
    },
  ];
}
