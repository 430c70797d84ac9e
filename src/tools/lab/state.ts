/** What is known of a lab on disk, written before each step so that it can be taken down from any state. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './error.ts';
import { checkLabName, type LabPlan, labDirectory, NAMESPACE_DIRECTORY, RUN_DIRECTORY } from './plan.ts';
import type { ProcessId } from './system.ts';

export interface LabState {
  readonly version: 1;
  /** Process numbers mean nothing after a reboot. */
  readonly bootId: string;
  readonly phase: 'building' | 'up';
  /** The process that builds the lab. */
  readonly builder: ProcessId;
  readonly plan: LabPlan;
  /** `netem` or `hop`: how the client's link is slowed down; null when it is not. */
  readonly shaper: 'netem' | 'hop' | null;
  readonly hop: ProcessId | null;
  /** Each node's command, and its process when one was started. */
  readonly commands: Readonly<Record<string, readonly string[]>>;
  readonly processes: Readonly<Record<string, ProcessId>>;
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

const stateFile = (lab: string): string => join(labDirectory(lab), 'state.json');

export function writeState(state: LabState): void {
  mkdirSync(state.plan.directory, { recursive: true });
  const file = stateFile(state.plan.name);
  writeFileSync(`${file}.new`, JSON.stringify(state, null, 2));
  renameSync(`${file}.new`, file);
}

/** The lab's state, undefined when there is none that can be read. */
export function readState(lab: string): LabState | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile(lab), 'utf8')) as LabState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

/** The state of a lab that is up. Throws LabError when it is not. */
export function requireState(lab: string): LabState {
  const state = readState(checkLabName(lab));
  if (state === undefined)
    throw new LabError('LAB_NOT_UP', `no lab named ${lab}; start one with: baton lab up`);
  return state;
}

/** The names of all labs that have left anything: a directory or a namespace. */
export function labNames(): string[] {
  const names = new Set<string>();
  if (existsSync(RUN_DIRECTORY)) {
    for (const entry of readdirSync(RUN_DIRECTORY)) if (existsSync(stateFile(entry))) names.add(entry);
  }
  if (existsSync(NAMESPACE_DIRECTORY)) {
    for (const entry of readdirSync(NAMESPACE_DIRECTORY)) {
      const parts = /^baton-([a-z0-9]{1,16})-(?:net|client|hop|router|[a-z])$/.exec(entry);
      if (parts !== null) names.add(parts[1]);
    }
  }
  return [...names].sort();
}
