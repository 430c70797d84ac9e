/** Taking a lab down, whatever state it is in and whoever was killed on the way. */
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './error.ts';
import { leftNamespaces, namespacesOf, netOption, removeNetwork } from './network.ts';
import { checkLabName, type LabPlan, labDirectory, NAMESPACE_DIRECTORY, RUN_DIRECTORY } from './plan.ts';
import { bootId, readState } from './state.ts';
import { isAlive, type ProcessId, processesIn, processesWith, signal, waitSync } from './system.ts';

const KILL_TIMEOUT_MS = 10_000;
/** A command of a builder takes some milliseconds. */
const COMMAND_TIMEOUT_MS = 5_000;

export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new LabError(
    'LAB_NOT_ROOT',
    'a lab needs root: it makes network namespaces (try: sudo baton lab ...)',
  );
}

/** Takes a lab down from any state. Tells whether there was anything. */
export function removeLab(name: string): boolean {
  checkLabName(name);
  requireRoot();
  const state = readState(name);
  const directory = labDirectory(name);
  if (state?.phase === 'building') {
    if (!isAlive(state.builder)) awaitCommands(state.plan);
    else if (state.builder.pid !== process.pid)
      throw new LabError(
        'LAB_BUSY',
        `process ${state.builder.pid} is building the lab ${name}; wait for it or end it`,
      );
  }
  const namespaces = leftNamespaces(name);
  if (state === undefined && namespaces.length === 0 && !existsSync(directory)) return false;
  const recorded = state === undefined || state.bootId !== bootId() ? [] : Object.values(state.processes);
  endProcesses(recorded, state?.bootId === bootId() ? (state.hop ?? null) : null, namespaces);
  removeNetwork(name);
  rmSync(directory, { recursive: true, force: true });
  try {
    rmdirSync(RUN_DIRECTORY);
  } catch {
    // Other labs still use it.
  }
  return true;
}

/**
 * The command that a builder was waiting for when it was killed goes on without it: it may be adding a namespace. What
 * takes longer is somebody else's, a `sudo ip netns exec` for instance, and does not add any.
 */
function awaitCommands(plan: LabPlan): void {
  const namespaces = namespacesOf(plan);
  const args = [...namespaces, ...namespaces.map(netOption)];
  waitSync(COMMAND_TIMEOUT_MS, () => processesWith(args).length === 0);
}

/** Kills everything in the namespaces: what a node would put in order when told to stop goes with them. */
function endProcesses(
  nodes: readonly ProcessId[],
  hop: ProcessId | null,
  namespaces: readonly string[],
): void {
  const rest = (): ProcessId[] => {
    const inside = namespaces.flatMap((name) => processesIn(join(NAMESPACE_DIRECTORY, name)));
    return [...inside, ...nodes, ...(hop === null ? [] : [hop])].filter(
      (id) => isAlive(id) && id.pid !== process.pid,
    );
  };
  const isEmpty = waitSync(KILL_TIMEOUT_MS, () => {
    const left = rest();
    for (const id of left) signal(id, 'SIGKILL');
    return left.length === 0;
  });
  if (!isEmpty) {
    const pids = rest().map((id) => id.pid);
    throw new LabError('LAB_BUSY', `processes ${pids.join(', ')} do not end; try again`);
  }
}
