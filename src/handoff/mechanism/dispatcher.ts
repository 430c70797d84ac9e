/**
 * Which node answers a request, and by which mechanism: asks the site's policy, and begins. What cannot be had falls
 * back along the mechanism table: the connection that cannot move is answered here, the handoff without room by relay
 * or here.
 */
import assert from 'node:assert';
import type { ClusterConfig, MechanismRow, MechanismSetting } from '../../base/config/config.ts';
import type { Candidate, Choice } from '../../cluster/policy/policy.ts';
import type { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Request } from '../../serve/request.ts';
import { answers, type Site } from '../../serve/sites.ts';
import { isForTls } from '../../serve/tls-rules.ts';
import { AnnouncedDelivery } from '../anchor/announced-delivery.ts';
import type { Standby } from '../anchor/handoff.ts';
import { LocalDelivery, type LocalHost } from '../anchor/local.ts';
import type { Delivery } from '../request/delivery.ts';
import { Auto, type AutoPorts } from './auto.ts';
import { cloneForm } from './clone.ts';
import type { Dispatch, Means, RequestInProgress } from './mechanism.ts';
import { moves } from './moves.ts';
import { MECHANISM_TABLE } from './table.ts';

export interface DispatcherPorts extends Omit<Means, 'sharesConnections'>, AutoPorts {
  readonly clock: Clock;
  readonly config: Pick<ClusterConfig, 'sites'>;
  readonly policies: Pick<SitePolicies, 'of'>;
  /** The link by which whatever there is of a connection goes to a node; undefined when it is not up. */
  linkOf(node: number, connection: { readonly key: string | null }): Link | undefined;
  /** Whether a node would answer whatever is asked on a connection as this one does. */
  mayMoveTo(node: number): boolean;
  /** This node goes away: the node that a connection is to go to; null: none can be reached. */
  nextTaker(): number | null;
  /** Whether this node goes away. */
  readonly isLeaving: () => boolean;
  /** At a booster: its clients; else null. */
  readonly boosted: {
    /** The node that owns the address a client has connected to; -1: not known any more. */
    originOf(fd: number): number;
    /** A request comes. False: its client asks for too much. */
    asks(fd: number): boolean;
  } | null;
}

export class Dispatcher {
  readonly #ports: DispatcherPorts;
  readonly #means: Means;
  readonly #auto: Auto;

  constructor(ports: DispatcherPorts) {
    this.#ports = ports;
    const sharesConnections = ports.config.sites.some(({ mechanism }) => mechanism !== 'local');
    this.#means = { ...ports, sharesConnections };
    this.#auto = new Auto(ports, (client) => ports.sites.isTold(client));
  }

  /** Node and mechanism for a request that has just come. `stays`: here, if that is possible. */
  choose(head: RequestHead, site: Site | null, stays: boolean): Choice {
    const { self } = this.#means;
    const away = stays ? null : this.#ports.nextTaker();
    if (away !== null) return { node: away, mechanism: 'migrate' };
    // Which origin answers is known when the booster takes the request up.
    if (this.#ports.boosted !== null) return { node: self, mechanism: 'local' };
    if (site === null || (stays && answers(site))) return { node: self, mechanism: 'local' };
    return this.#choose(site, head, this.#means.sites.candidatesFor(site, head));
  }

  #choose(site: Site, head: RequestHead, candidates: readonly Candidate[]): Choice {
    const { mechanism } = site.config;
    const { self } = this.#means;
    if (mechanism === 'local' || candidates.length === 0) return { node: self, mechanism: 'local' };
    const choice = this.#ports.policies.of(site.config).choose(head, candidates, self);
    site.outages.chosen(typeof choice === 'number' ? choice : choice.node, this.#ports.clock.nowMs);
    return typeof choice === 'number' ? { node: choice, mechanism } : choice;
  }

  /** Whether a choice means that the connection goes to another node. */
  mayMove({ node, mechanism }: Choice): boolean {
    if (!moves(mechanism) || node === this.#means.self) return false;
    // A node that goes away gives its connections to any node that takes them.
    return this.#ports.isLeaving() || this.#ports.mayMoveTo(node);
  }

  /** A node that goes away begins nothing elsewhere that it would have to wait for. */
  #keeps(site: Site): boolean {
    return this.#ports.isLeaving() && answers(site);
  }

  /**
   * Begins to answer a request. `tried`: nodes that have failed it. `chosen`: by `choose`, or null when that was not
   * asked. Null: the connection had to be broken, or has to wait.
   */
  dispatch(
    host: RequestInProgress,
    site: Site | null,
    tried: readonly number[],
    chosen: Choice | null,
  ): Delivery | null {
    const standby = host.takeStandby();
    if (standby !== null) return this.#standby(host, site, standby);
    if (this.#ports.boosted !== null) return this.#boost(host, site, tried, this.#ports.boosted);
    const { head } = host.request;
    const { self } = this.#means;
    if (site !== null && isForTls(site.config, head, host.request.client))
      return this.#begin(host, site, self, 'local', true);
    if (site === null || this.#nobodyHasIt(site, head)) return this.#begin(host, null, self, 'local', false);
    if (host.fullyTried || this.#keeps(site)) return this.#begin(host, site, self, 'local', true);
    const { node, mechanism } = (tried.length === 0 ? chosen : null) ?? this.#again(site, head, tried);
    return this.#begin(host, site, node, mechanism, answers(site) && !tried.includes(self));
  }

  /** Gives a request to its origin; when that cannot be reached or has failed, to another server that has the site. */
  #boost(
    host: RequestInProgress,
    site: Site | null,
    tried: readonly number[],
    boosted: NonNullable<DispatcherPorts['boosted']>,
  ): Delivery | null {
    const { self, sites } = this.#means;
    const { request } = host;
    if (tried.length === 0 && !boosted.asks(host.fd)) {
      // The body of a refused request is not read: the connection ends behind the answer.
      const refused = { ...request, close: request.close || request.bodyFollows };
      return new LocalDelivery(this.#means, host, refused, sites.failure(refused, 429), 'local');
    }
    const origin = boosted.originOf(host.fd);
    if (origin >= 0 && !tried.includes(origin)) {
      const delivery = this.#carry(host, site, origin, 'boost');
      if (delivery !== null) return delivery;
    }
    const { head } = request;
    const others = site === null ? [] : sites.candidatesFor(site, head);
    const left = others.filter(({ index }) => index !== origin && !tried.includes(index));
    if (site === null || left.length === 0 || host.fullyTried)
      return this.#begin(host, site, self, 'local', false);
    const choice = this.#ports.policies.of(site.config).choose(head, left, self);
    const node = typeof choice === 'number' ? choice : choice.node;
    return this.#carry(host, site, node, 'relay') ?? this.#begin(host, site, self, 'local', false);
  }

  /** Null: the node cannot be reached. */
  #carry(
    host: RequestInProgress,
    site: Site | null,
    node: number,
    mechanism: 'boost' | 'relay',
  ): Delivery | null {
    const link = this.#ports.linkOf(node, host);
    if (link === undefined) return null;
    const dispatch = { means: this.#means, host, site, mechanism, node, link, isServedHere: false };
    return MECHANISM_TABLE[mechanism].begin(dispatch);
  }

  /** Tries the rows of the table, from the one that was asked for on. */
  #begin(
    host: RequestInProgress,
    site: Site | null,
    node: number,
    asked: MechanismSetting,
    isServedHere: boolean,
  ): Delivery | null {
    const means = this.#means;
    const link = node === means.self ? null : (this.#ports.linkOf(node, host) ?? null);
    const mechanism = link === null || site === null ? 'local' : this.#rowFor(asked, host, site, node);
    const dispatch: Dispatch = { means, host, site, mechanism, node, link, isServedHere };
    let row: MechanismRow | null = mechanism;
    while (row !== null) {
      const delivery = MECHANISM_TABLE[row].begin(dispatch);
      if (delivery !== null) return delivery;
      row = MECHANISM_TABLE[row].otherwise;
    }
    return null;
  }

  #rowFor(asked: MechanismSetting, host: RequestInProgress, site: Site, node: number): MechanismRow {
    return asked === 'auto' ? this.#auto.choose(host, site, node) : asked;
  }

  /** A response has been sent. */
  answered(site: Site, head: RequestHead, bodyBytes: number): void {
    this.#auto.answered(site, head, bodyBytes);
  }

  /** What mechanism auto has chosen and learnt. */
  get auto(): Pick<Auto, 'status' | 'explain'> {
    return this.#auto;
  }

  /** The clone that is there has the request, and may be answering it. */
  #standby(host: RequestInProgress, site: Site | null, standby: Standby): Delivery {
    const { flow } = host;
    assert(flow !== null && site !== null, 'a clone is there');
    const { node, link } = standby.target;
    assert(flow.makeRoom(null), 'all that was sent before is acknowledged');
    const { handoffs, repeatableChoices } = this.#means;
    const given = { handoffs, host, flow, request: host.retain(), node, link, half: null };
    return AnnouncedDelivery.startStandby(
      given,
      cloneForm(site.config.clone, repeatableChoices.of(site)),
      standby,
    );
  }

  /** That nobody has it is an answer (404); that nobody can be reached is another (503). */
  #nobodyHasIt(site: Site, head: RequestHead): boolean {
    if (answers(site) || site.candidates.length === 0) return false;
    return this.#means.sites.candidatesFor(site, head).length === 0;
  }

  #again(site: Site, head: RequestHead, tried: readonly number[]): Choice {
    const candidates = this.#means.sites.candidatesFor(site, head);
    const untried = candidates.filter(({ index }) => !tried.includes(index));
    return this.#choose(site, head, untried);
  }

  /** A response that this node makes, on the connection's own socket. */
  answer(
    host: LocalHost,
    request: Request,
    exchange: Exchange,
    mechanism: 'local' | 'migrate',
  ): LocalDelivery {
    return new LocalDelivery(this.#means, host, request, exchange, mechanism);
  }
}
