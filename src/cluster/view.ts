/**
 * How a node sees the cluster, by its file: what other nodes have to see alike, as digests, section by section. Two
 * nodes compare theirs, so that nothing is handed to one that would answer otherwise, and people hear what differs.
 *
 *              essence: must agree                        rest: told, but may differ for a while
 *   node       role, addresses, port, engines             -
 *   site       name, hosts                                policy, mechanism, options
 *   setting    listen                                     limits on heads and bodies, timeouts, forward
 *
 * Roots, upstreams, certificates, logs and interfaces are each node's own. Pure.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { ClusterConfig, PolicyConfig, SiteConfig } from '../base/config/config.ts';
import { FrameType, type View, ViewKind } from '../protocol/backplane/frames.ts';

type Section = View['sections'][number];

const NOTHING = 0n;

/** The first 8 bytes of SHA-256 over the JSON of a value. */
function digestOf(value: unknown): bigint {
  return createHash('sha256').update(JSON.stringify(value)).digest().readBigUInt64BE(0);
}

function essenceOf({ name, hosts }: Pick<SiteConfig, 'name' | 'hosts'>): bigint {
  return digestOf([name, [...hosts].sort()]);
}

/** What SETUP says of the site that a request is for. */
export function siteDigest(site: Pick<SiteConfig, 'name' | 'hosts'>): number {
  return Number(essenceOf(site) & 0xffff_ffffn);
}

/** A module lies where each node has it. */
function policyOf(policy: PolicyConfig): unknown {
  if (typeof policy === 'string' || policy.kind !== 'module') return policy;
  return { ...policy, file: basename(policy.file) };
}

/** `sites`: with the policies in force, which a reload may have changed. */
export function viewOf(config: ClusterConfig, self: number, sites: readonly SiteConfig[]): View {
  const own = config.nodes[self].name;
  const nodes = config.nodes.map(
    ({ name, role, address, address6, backplane, engines, public: pub }): Section => {
      const essence = digestOf([role, address, address6, [...pub].sort(), backplane, engines]);
      return { kind: ViewKind.NODE, name, serves: false, essence, rest: NOTHING };
    },
  );
  const views = sites.map((site): Section => {
    const { name, hosts: _, content, policy, tls, ...others } = site;
    const secured = tls === null ? null : [tls.redirect, tls.hstsSeconds];
    const rest = digestOf([policyOf(policy), others, secured]);
    return { kind: ViewKind.SITE, name, serves: Object.hasOwn(content, own), essence: essenceOf(site), rest };
  });
  const { headBytes, headFields, bodyBytes } = config.limits;
  const { setupMs, peerMs } = config.timeouts;
  const setting = (name: string, essence: bigint, rest: bigint): Section => {
    return { kind: ViewKind.SETTING, name, serves: false, essence, rest };
  };
  const settings = [
    setting('listen', digestOf(config.listen), NOTHING),
    setting('limits', NOTHING, digestOf([headBytes, headFields, bodyBytes])),
    setting('timeouts', NOTHING, digestOf([setupMs, peerMs])),
    setting('forward', NOTHING, digestOf(config.forward)),
  ];
  return { type: FrameType.VIEW, sections: [...nodes, ...views, ...settings] };
}

/** What comes of comparing two views. */
export interface Comparison {
  /** What differs, in words; empty when nothing does. */
  readonly differences: readonly string[];
  /** Nothing at all is to be handed to that node. */
  readonly isApart: boolean;
  /** Sites whose requests are not handed to it. */
  readonly otherSites: ReadonlySet<string>;
  /** Connections may move there: it would answer any request on them as this node does. */
  readonly mayMove: boolean;
}

/** Compares what this node, `own`, sees with what another one, `peer`, says. `content`: who serves a site, as seen here. */
export function compareViews(
  own: View,
  theirs: View,
  names: { readonly own: string; readonly peer: string },
  serves: (site: string, node: string) => boolean,
): Comparison {
  const differences: string[] = [];
  const pairs = (kind: ViewKind): Array<[string, Section | undefined, Section | undefined]> => {
    const of = (view: View) =>
      new Map(view.sections.flatMap((one) => (one.kind === kind ? [[one.name, one] as const] : [])));
    const [ours, others] = [of(own), of(theirs)];
    return [...new Set([...ours.keys(), ...others.keys()])].map((name) => [
      name,
      ours.get(name),
      others.get(name),
    ]);
  };
  const tell = (
    what: string,
    one: Section | undefined,
    other: Section | undefined,
    rest: string,
  ): boolean => {
    if (one === undefined || other === undefined) {
      differences.push(`${what}: only in the file of node ${one === undefined ? names.peer : names.own}`);
      return false;
    }
    if (one.essence !== other.essence) differences.push(`${what}: differs`);
    if (one.rest !== other.rest) differences.push(`${what}: ${rest}`);
    return one.essence === other.essence;
  };

  let isApart = false;
  let mayMove = true;
  for (const [name, one, other] of pairs(ViewKind.NODE)) {
    const agrees = tell(`node ${name}`, one, other, 'differs');
    if (agrees) continue;
    if (name === names.own || name === names.peer) isApart = true;
    // A node that only one of the two files names cannot be home to a connection that the other node takes.
    else if (one !== undefined && other !== undefined) mayMove = false;
  }
  if (!sameOrder(own, theirs)) differences.push('the order of nodes differs');
  for (const [name, one, other] of pairs(ViewKind.SETTING))
    if (!tell(name, one, other, 'differs')) isApart = true;

  const otherSites = new Set<string>();
  for (const [name, one, other] of pairs(ViewKind.SITE)) {
    const agrees = tell(`site ${name}`, one, other, 'policy, mechanism or options differ');
    if (!agrees) mayMove = false;
    if (!agrees) otherSites.add(name);
    if (one === undefined || other === undefined) continue;
    if (serves(name, names.peer) !== other.serves) {
      const [by, not] = other.serves ? [names.peer, names.own] : [names.own, names.peer];
      differences.push(
        `site ${name}: node ${names.peer} serves it by the file of node ${by}, not by that of ${not}`,
      );
      if (!other.serves) otherSites.add(name);
    }
  }
  return { differences, isApart, otherSites, mayMove: mayMove && !isApart };
}

/** Whether nodes that both know come in the same order: the first of two dials. */
function sameOrder(one: View, other: View): boolean {
  const nodesOf = ({ sections }: View) =>
    sections.filter(({ kind }) => kind === ViewKind.NODE).map(({ name }) => name);
  const [ours, theirs] = [nodesOf(one), nodesOf(other)];
  const common = theirs.filter((name) => ours.includes(name));
  return ours.filter((name) => theirs.includes(name)).every((name, i) => name === common[i]);
}
