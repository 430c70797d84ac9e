/** Policies: which node answers a request. Pure; one file a policy. */
import type { PolicyName } from '../config/config.ts';
import type { RequestHead } from '../http/request.ts';
import { Hash } from './hash.ts';
import { Local } from './local.ts';
import { RoundRobin } from './round-robin.ts';

/** A node that could answer: its index in the configuration, and its name. */
export interface Candidate {
  readonly index: number;
  readonly name: string;
}

export interface Policy {
  /**
   * Chooses among `candidates` (never empty, ordered by index; nodes that serve the site and can be reached).
   * `self` is this node's index, whether or not it is a candidate. Returns the chosen one's index.
   */
  choose(head: RequestHead, candidates: readonly Candidate[], self: number): number;
}

export function createPolicy(name: PolicyName): Policy {
  switch (name) {
    case 'round-robin':
      return new RoundRobin();
    case 'hash':
      return new Hash();
    case 'local':
      return new Local();
  }
}
