/**
 * A policy that is somebody else's code: whatever it does wrong, the request is served by policy `local`, and the
 * failure is reported. It cannot be kept from taking long.
 */
import { MECHANISM_SETTINGS } from '../../base/config/config.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { Local } from './local.ts';
import type { Candidate, Choice, Policy } from './policy.ts';

export class GuardedPolicy implements Policy {
  readonly #policy: Policy;
  readonly #failed: (reason: string) => void;
  readonly #local = new Local();

  /** `failed` is called at every failure. */
  constructor(policy: Policy, failed: (reason: string) => void) {
    this.#policy = policy;
    this.#failed = failed;
  }

  choose(head: RequestHead, candidates: readonly Candidate[], self: number): number | Choice {
    try {
      const choice: unknown = this.#policy.choose(head, candidates, self);
      const reason = objection(choice, candidates, self);
      if (reason === null) return choice as number | Choice;
      this.#failed(reason);
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
    }
    return this.#local.choose(head, candidates, self);
  }
}

/** What is wrong with a policy's answer; null when nothing is. */
function objection(choice: unknown, candidates: readonly Candidate[], self: number): string | null {
  const isNumber = typeof choice === 'number';
  if (!isNumber && (typeof choice !== 'object' || choice === null))
    return `choose() returned ${choice === null ? 'null' : typeof choice}, not an index or { node, mechanism }`;
  const { node, mechanism } = isNumber ? { node: choice, mechanism: null } : (choice as Partial<Choice>);
  if (!candidates.some((candidate) => candidate.index === node))
    return `choose() returned node ${String(node)}, which is no candidate`;
  if (!isNumber && !MECHANISM_SETTINGS.includes(mechanism as Choice['mechanism']))
    return `choose() returned mechanism ${String(mechanism)}; there are ${MECHANISM_SETTINGS.join(', ')}`;
  if (mechanism === 'local' && node !== self)
    return `choose() returned mechanism local for node ${node}, which is another one`;
  return null;
}
