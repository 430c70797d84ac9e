/**
 * Policies of a configuration: named ones, classes, and modules, which are imported by every engine, once a trial
 * has shown that they can be (trial.ts).
 */
import { statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { PolicyConfig, PolicyName, SiteConfig } from '../../base/config/config.ts';
import { Cached, type MemoryView } from './cached.ts';
import { ClassPolicy } from './class.ts';
import { Delegate } from './delegate.ts';
import { GuardedPolicy } from './guarded.ts';
import { Hash } from './hash.ts';
import { LeastLoad } from './least-load.ts';
import { Local } from './local.ts';
import type { Policy, PolicyContext, PolicyFactory } from './policy.ts';
import { RoundRobin } from './round-robin.ts';

/** A policy without settings, by name. `memory`: what policy `cached` goes by. */
export function namedPolicy(name: PolicyName, memory: MemoryView): Policy {
  switch (name) {
    case 'round-robin':
      return new RoundRobin();
    case 'hash':
      return new Hash();
    case 'local':
      return new Local();
    case 'least-load':
      return new LeastLoad();
    case 'cached':
      return new Cached(memory);
  }
}

/** A policy module cannot be used. The message names the file and says what to do. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly code = 'POLICY';
  readonly file: string;
  readonly detail: string;

  constructor(file: string, detail: string) {
    super(`policy module ${file}: ${detail}`);
    this.file = file;
    this.detail = detail;
  }
}

/** The factories of the modules that `sites` name, by file. */
export type PolicyFactories = ReadonlyMap<string, PolicyFactory>;

/**
 * Imports every policy module that `sites` name. A file that has changed since is imported anew (a module that it
 * imports itself is not). Rejects with PolicyError.
 */
export async function importPolicies(sites: readonly SiteConfig[]): Promise<PolicyFactories> {
  const factories = new Map<string, PolicyFactory>();
  for (const { policy } of sites) {
    if (typeof policy === 'string' || policy.kind !== 'module' || factories.has(policy.file)) continue;
    factories.set(policy.file, await importFactory(policy.file));
  }
  return factories;
}

async function importFactory(file: string): Promise<PolicyFactory> {
  let module: { readonly default?: unknown };
  try {
    const { mtimeMs, size } = statSync(file);
    // Modules stay in memory under their URL: a new version needs a new one.
    module = (await import(`${pathToFileURL(file).href}?version=${mtimeMs}-${size}`)) as typeof module;
  } catch (error) {
    throw new PolicyError(file, `cannot be imported: ${describe(error)}`);
  }
  if (typeof module.default !== 'function') {
    throw new PolicyError(file, 'has no default export that is a function (options, context) => policy');
  }
  return module.default as PolicyFactory;
}

/**
 * The policy of a site. `failed` is told when a module's policy throws or answers nonsense. Throws PolicyError when a
 * module makes none.
 */
export function createPolicy(
  site: SiteConfig,
  factories: PolicyFactories,
  context: PolicyContext,
  memory: MemoryView,
  failed: (reason: string) => void,
): Policy {
  const { policy } = site;
  if (typeof policy === 'string') return namedPolicy(policy, memory);
  if (policy.kind === 'class')
    return new ClassPolicy(policy.rules, namedPolicy(policy.fallback, memory), context.sizeOf);
  if (policy.kind === 'delegate') return new Delegate(policy, () => performance.now());
  const { file, options } = policy;
  let made: Policy;
  try {
    // A copy: what a module does to its options is its own affair.
    made = factories.get(file)!(structuredClone(options), context);
  } catch (error) {
    throw new PolicyError(file, `its default export threw: ${describe(error)}`);
  }
  if (typeof (made as Partial<Policy> | undefined)?.choose !== 'function') {
    throw new PolicyError(file, 'its default export returned no object with a function choose');
  }
  return new GuardedPolicy(made, (reason) => failed(`policy module ${file}: ${reason}`));
}

/** Whether a policy asks which nodes have a document in memory. */
export function goesByMemory(policy: PolicyConfig): boolean {
  const name = typeof policy === 'object' && policy.kind === 'class' ? policy.fallback : policy;
  return name === 'cached';
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
