/**
 * Policies: which node answers a request, and how it gets there. Pure; one file a policy. A site may name a module
 * of its own instead (`policy: { module: ./by-user.js, options: {...} }`): its default export is a PolicyFactory.
 *
 *     export default function create(options, context) {
 *       return {
 *         choose(head, candidates, self) {
 *           const b = candidates.find((c) => c.name === 'b');
 *           return head.path.startsWith('/api/') && b !== undefined ? b.index : self;
 *         },
 *       };
 *     }
 */

import type { MechanismSetting } from '../../base/config/config.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { NodeLoad } from '../load.ts';

/** A node that could answer: its index in the configuration, its name, and its load as last reported. */
export interface Candidate {
  readonly index: number;
  readonly name: string;
  readonly load: NodeLoad;
}

/** A node, and the mechanism when it is not to be the site's. */
export interface Choice {
  readonly node: number;
  readonly mechanism: MechanismSetting;
}

export interface Policy {
  /**
   * Chooses among `candidates` (never empty, ordered by index; nodes that serve the site, can be reached and
   * accept). `self` is this node's index, whether or not it is a candidate. Returns the chosen one's index, or a
   * Choice. It is called for every request on the engine's thread: it must not wait, and should be quick.
   */
  choose(head: RequestHead, candidates: readonly Candidate[], self: number): number | Choice;
}

/** What a policy may ask about the world. */
export interface PolicyContext {
  /** Name of the site. */
  readonly site: string;
  /**
   * Bytes of the file that a request is for, when this node has it in a root directory, or another node's catalogue
   * tells; else null.
   */
  readonly sizeOf: (head: RequestHead) => number | null;
}

/**
 * The default export of a policy module. `options` is what the configuration gives, as plain data. Called anew for
 * every engine and at every reload.
 */
export type PolicyFactory = (options: unknown, context: PolicyContext) => Policy;
