/**
 * Request classes bound to nodes, as in the locality-aware policies of Olaru and Tichy's connection endpoint
 * migration: rules by path, size and popularity, each with the nodes that answer such requests and, if it says so,
 * the mechanism. The first rule that matches and of whose nodes one is a candidate decides; else the fallback policy.
 * A rule's nodes share its paths by hash, so that each keeps its own in memory.
 */
import type { ClassRule, MechanismSetting } from '../../base/config/config.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { globToRegExp } from './glob.ts';
import { Hash } from './hash.ts';
import type { Candidate, Choice, Policy } from './policy.ts';
import { Popularity } from './popularity.ts';

interface Rule {
  readonly pattern: RegExp | null;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly popularPermille: number;
  readonly nodes: ReadonlySet<string>;
  readonly mechanism: MechanismSetting | null;
}

export class ClassPolicy implements Policy {
  readonly #rules: readonly Rule[];
  readonly #fallback: Policy;
  readonly #sizeOf: (head: RequestHead) => number | null;
  readonly #popularity: Popularity | null;
  readonly #hash = new Hash();

  constructor(rules: readonly ClassRule[], fallback: Policy, sizeOf: (head: RequestHead) => number | null) {
    this.#rules = rules.map(compile);
    this.#fallback = fallback;
    this.#sizeOf = sizeOf;
    this.#popularity = this.#rules.some((rule) => rule.popularPermille > 0) ? new Popularity() : null;
  }

  choose(head: RequestHead, candidates: readonly Candidate[], self: number): number | Choice {
    const popularity = this.#popularity?.count(head.path) ?? 0;
    let size: number | null | undefined;
    for (const rule of this.#rules) {
      if (popularity < rule.popularPermille) continue;
      if (rule.pattern !== null && !rule.pattern.test(head.path)) continue;
      if (rule.minBytes > 0 || rule.maxBytes < Number.POSITIVE_INFINITY) {
        if (size === undefined) size = this.#sizeOf(head);
        if (size === null || size < rule.minBytes || size > rule.maxBytes) continue;
      }
      const bound = candidates.filter((candidate) => rule.nodes.has(candidate.name));
      if (bound.length === 0) continue;
      const node = this.#hash.choose(head, bound);
      return rule.mechanism === null ? node : { node, mechanism: rule.mechanism };
    }
    return this.#fallback.choose(head, candidates, self);
  }
}

function compile(rule: ClassRule): Rule {
  const { path, regex } = rule;
  return {
    pattern: path !== null ? globToRegExp(path) : regex !== null ? new RegExp(regex) : null,
    minBytes: rule.minBytes ?? 0,
    maxBytes: rule.maxBytes ?? Number.POSITIVE_INFINITY,
    popularPermille: rule.popularPermille ?? 0,
    nodes: new Set(rule.nodes),
    mechanism: rule.mechanism,
  };
}
