/**
 * Which node answers a request, and by which mechanism: asks the site's policy, and begins. What cannot be had falls
 * back: the connection that cannot move is answered here, the handoff without room by relay or here.
 */
import assert from 'node:assert';
import type { MechanismName } from '../../base/config/config.ts';
import { nowUs } from '../../base/time.ts';
import type { Answering } from '../../client/answering.ts';
import type { Connection } from '../../client/connection.ts';
import type { Candidate, Choice } from '../../cluster/policy/policy.ts';
import type { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { Engine } from '../../node/engine/engine.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Peers } from '../../protocol/backplane/peers.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Request } from '../../serve/request.ts';
import { answers, type Site } from '../../serve/sites.ts';
import { AnchorHandling } from '../anchor/anchor.ts';
import type { Kept } from '../anchor/attempt.ts';
import { LocalHandling } from '../anchor/local.ts';
import { type Form, PromisedHandling } from '../anchor/promised.ts';
import { RelayHandling } from '../anchor/relay.ts';
import { Migration } from '../move/migrate.ts';
import type { Handling, HandlingHost } from '../request/handling.ts';
import { cloneForm } from './clone.ts';
import { SPLIT_FORM } from './split.ts';

/** Mechanisms by which another node sends the out-half. */
function givesOutHalf(mechanism: MechanismName): boolean {
  return mechanism === 'anchor' || mechanism === 'clone' || mechanism === 'split';
}

/** Whether connections go to other nodes as a whole. */
function moves(mechanism: MechanismName): boolean {
  return mechanism === 'migrate' || mechanism === 'drain';
}

export class Dispatcher {
  readonly #engine: Engine;
  readonly #peers: Peers;
  readonly #policies: SitePolicies;
  /**
   * Whether the next response of a connection may be another node's, which is so as soon as one site of the cluster
   * hands requests off: then every response ends its segment.
   */
  readonly #sharesConnections: boolean;

  constructor(engine: Engine, peers: Peers, policies: SitePolicies) {
    this.#engine = engine;
    this.#peers = peers;
    this.#policies = policies;
    this.#sharesConnections = engine.config.sites.some(({ mechanism }) => mechanism !== 'local');
  }

  /** Node and mechanism for a request that has just come. `stays`: here, if that is possible. */
  choose(head: RequestHead, site: Site | null, stays: boolean): Choice {
    const { self, drain } = this.#engine;
    const away = stays ? null : (drain?.next() ?? null);
    if (away !== null) return { node: away, mechanism: 'migrate' };
    if (site === null || (stays && answers(site))) return { node: self, mechanism: 'local' };
    return this.#choose(site, head, this.#engine.sites.candidatesFor(site, head));
  }

  #choose(site: Site, head: RequestHead, candidates: readonly Candidate[]): Choice {
    const { mechanism } = site.config;
    const { self } = this.#engine;
    if (mechanism === 'local' || candidates.length === 0) return { node: self, mechanism: 'local' };
    const choice = this.#policies.of(site.config).choose(head, candidates, self);
    site.outages.chosen(typeof choice === 'number' ? choice : choice.node, this.#engine.nowMs);
    return typeof choice === 'number' ? { node: choice, mechanism } : choice;
  }

  /** Whether a choice means that the connection goes to another node. */
  mayMove({ node, mechanism }: Choice): boolean {
    return moves(mechanism) && node !== this.#engine.self;
  }

  /** Begins to move a connection. Null: it stays. */
  migrate(connection: Connection, { node, mechanism }: Choice): Migration | null {
    const link = this.#linkTo(connection, node);
    if (link === undefined) return null;
    const draining = this.#engine.drain !== null;
    // The traditional handoff: not before everything sent is acknowledged.
    const whenAcknowledged = mechanism === 'drain';
    const how = { serveFirst: !draining, draining, whenAcknowledged };
    return Migration.start(this.#engine, connection, node, link, how);
  }

  #linkTo(connection: Connection, node: number): Link | undefined {
    // The only one is known without asking the kernel for the connection's ends.
    if (this.#engine.config.nodes[node].engines === 1) return this.#peers.linkToEngine(node, 0);
    const { key } = connection;
    return key === null ? undefined : this.#engine.linkFor(node, key);
  }

  /** A node that goes away begins nothing elsewhere that it would have to wait for. */
  #keeps(site: Site): boolean {
    return this.#engine.drain !== null && answers(site);
  }

  /**
   * Begins to answer a request. `tried`: nodes that have failed it. `chosen`: by `choose`, or null when that was not
   * asked. Null: the connection had to be broken.
   */
  dispatch(
    answering: Answering,
    request: Request,
    site: Site | null,
    tried: readonly number[],
    chosen: Choice | null,
  ): Handling | null {
    const kept = answering.takeKept();
    if (kept !== null) return this.#kept(answering, site!, kept);
    if (site !== null && this.#nobodyHasIt(site, request.head)) return this.#local(answering, request, null);
    if (site === null || answering.fullyTried || this.#keeps(site))
      return this.#local(answering, request, site);
    const { node, mechanism } =
      (tried.length === 0 ? chosen : null) ?? this.#again(site, request.head, tried);
    // A connection that could not move is answered here, if that is possible.
    const stays = moves(mechanism) && answers(site) && !tried.includes(this.#engine.self);
    const isLocal = node === this.#engine.self || mechanism === 'local' || stays;
    const handling = isLocal ? null : this.#remote(answering, site, node, mechanism);
    return handling ?? this.#local(answering, request, site);
  }

  #cloneForm(site: Site): Form {
    return cloneForm(site.config.clone, this.#engine.nextChoices.of(site));
  }

  /** The clone that is there has the request, and may be answering it. */
  #kept(answering: Answering, site: Site, kept: Kept): Handling {
    const { node, link } = kept.target;
    const flow = answering.connection.flow!;
    assert(flow.makeRoom(), 'all that was sent before is acknowledged');
    const request = answering.retain();
    const { handoffs } = this.#engine;
    const given = { handoffs, host: answering, flow, request, node, link };
    return PromisedHandling.startKept(given, this.#cloneForm(site), kept);
  }

  /** That nobody has it is an answer (404); that nobody can be reached is another (503). */
  #nobodyHasIt(site: Site, head: RequestHead): boolean {
    if (answers(site) || site.candidates.length === 0) return false;
    return this.#engine.sites.candidatesFor(site, head).length === 0;
  }

  #again(site: Site, head: RequestHead, tried: readonly number[]): Choice {
    const candidates = this.#engine.sites.candidatesFor(site, head);
    return this.#choose(
      site,
      head,
      candidates.filter(({ index }) => !tried.includes(index)),
    );
  }

  #remote(answering: Answering, site: Site, node: number, mechanism: MechanismName): Handling | null {
    const link = this.#linkTo(answering.connection, node);
    if (link === undefined) return null;
    const { counters: count, handoffs, loop } = this.#engine;
    const request = answering.retain();
    if (givesOutHalf(mechanism) && !request.bodyFollows) {
      const flow = answering.ensureFlow();
      if (flow?.makeRoom()) {
        const given = { handoffs, host: answering, flow, request, node, link };
        if (mechanism === 'anchor') return AnchorHandling.start(given);
        return PromisedHandling.start(given, mechanism === 'clone' ? this.#cloneForm(site) : SPLIT_FORM);
      }
      count.add('handoffs_no_room');
      if (answers(site)) return null;
    }
    answering.connection.flow?.beginOwn();
    const sharesConnections = this.#sharesConnections;
    const ports = { count, later: loop, handoffs, sharesConnections };
    return RelayHandling.start(ports, answering, request, node, link);
  }

  #local(answering: Answering, request: Request, site: Site | null): Handling | null {
    const { connection } = answering;
    connection.flow?.beginOwn();
    const hasMoved = connection.guest !== null && site !== null && moves(site.config.mechanism);
    const mechanism = hasMoved ? 'migrate' : 'local';
    const { sites } = this.#engine;
    const exchange = sites.exchange(site, request, mechanism, nowUs() - request.startUs);
    if (exchange === null) {
      connection.broken('the response cannot go on here');
      return null;
    }
    return this.answer(answering, request, exchange, mechanism);
  }

  /** A response that this node makes, on the connection's own socket. */
  answer(
    host: HandlingHost,
    request: Request,
    exchange: Exchange,
    mechanism: 'local' | 'migrate',
  ): LocalHandling {
    const { counters: count, loop: later, self } = this.#engine;
    const ports = { count, later, self, sharesConnections: this.#sharesConnections };
    return new LocalHandling(ports, host, request, exchange, mechanism);
  }
}
