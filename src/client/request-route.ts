/** Where the request in progress goes: its site, what the policy chose, and which nodes are left to ask. */
import type { ClusterConfig } from '../base/config/config.ts';
import type { Choice } from '../cluster/policy/policy.ts';
import type { Standby } from '../handoff/anchor/handoff.ts';
import type { AgainReason } from '../handoff/request/delivery.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { answers, type Site, takesBodies } from '../serve/sites.ts';
import { Attempts, mayRepeat } from './attempts.ts';
import type { ClientPorts } from './ports.ts';

export interface RoutePorts {
  readonly config: Pick<ClusterConfig, 'limits' | 'nodes'>;
  readonly sites: Pick<ClientPorts['sites'], 'find'>;
  readonly dispatcher: Pick<ClientPorts['dispatcher'], 'choose'>;
}

export class RequestRoute {
  readonly #ports: RoutePorts;
  readonly attempts = new Attempts();
  #site: Site | null = null;
  /** What the policy has chosen for this request; null before it is asked. */
  #chosen: Choice | null = null;
  /** A clone that may have taken the request that was read just now. */
  #standby: Standby | null = null;

  constructor(ports: RoutePorts) {
    this.#ports = ports;
  }

  /** Null: no site has the request's host. */
  get site(): Site | null {
    return this.#site;
  }

  get chosen(): Choice | null {
    return this.#chosen;
  }

  /**
   * Node and mechanism for a request whose head is there. `standby`: a clone that may have taken it. `stays`: here, if that
   * is possible.
   */
  choose(head: RequestHead, standby: Standby | null, stays: boolean): Choice {
    const { sites, dispatcher } = this.#ports;
    this.#site = sites.find(head.host);
    this.#standby = standby;
    this.#chosen =
      standby === null
        ? dispatcher.choose(head, this.#site, stays)
        : { node: standby.target.node, mechanism: 'clone' };
    return this.#chosen;
  }

  /** Takes up a request that this node is answering already. */
  goOnWith(head: RequestHead): void {
    this.#site = this.#ports.sites.find(head.host);
  }

  /** The clone that may have taken the request, once. */
  takeStandby(): Standby | null {
    const standby = this.#standby;
    this.#standby = null;
    return standby;
  }

  /** What the body of the request that `choose` was asked about may have. */
  get maxBodyBytes(): number {
    return this.#site?.config.bodyBytes ?? this.#ports.config.limits.bodyBytes;
  }

  /** Whether a node that may answer the request can want a body. */
  get takesBodies(): boolean {
    return takesBodies(this.#site);
  }

  /** Whether a request that `node` may have answered can be answered again without harm. */
  mayRepeat(node: number, { method }: RequestHead): boolean {
    return mayRepeat(this.#site?.config, this.#ports.config.nodes[node].name, method);
  }

  /** Whether this node can answer for the site. */
  get isServedHere(): boolean {
    return this.#site !== null && answers(this.#site);
  }

  /** Whether there is a node other than `node` to ask. */
  servedWithout(node: number): boolean {
    return this.#site?.candidates.some(({ index }) => index !== node) ?? false;
  }

  /** Whether somebody else, this node too, would answer, and might, when `node` does not. */
  answeredWithout(node: number, head: RequestHead): boolean {
    const { isLast, tried } = this.attempts;
    if (!this.mayRepeat(node, head) || (isLast && !this.isServedHere)) return false;
    return this.#site?.candidates.some(({ index }) => index !== node && !tried.includes(index)) ?? false;
  }

  /** One that was asked too late for what the policy chose is asked for the bytes when nobody else could answer. */
  failed(node: number, why: AgainReason, head: RequestHead): void {
    const insists = why === 'late' && !this.answeredWithout(node, head) && this.attempts.insist();
    if (insists) this.#chosen = { node, mechanism: 'relay' };
    else this.attempts.failed(node);
  }

  /** Whether there is a node other than `node` that has not been asked. */
  mayAskWithout(node: number): boolean {
    const site = this.#site;
    if (site === null || site.config.mechanism === 'local' || this.attempts.isOver) return false;
    return site.candidates.some(({ index }) => index !== node && !this.attempts.tried.includes(index));
  }
}
