/**
 * The ranges of a flow: who sends which piece of the client's sequence space. Pure; src/kernel/router/flows.ts writes the
 * result into the router's map, where the eBPF programs read it.
 *
 *        own [S0,S1)      target b [S1,S2)     target c [S2,?)
 *   -----+----------------+--------------------+------------->  client's sequence space (wire)
 *        | local..        |  (b's own numbers) | open
 *
 * The own socket's sequence space is contiguous: its n-th own range continues where the one before ended.
 */
import assert from 'node:assert';
import { MAX_RANGES, OWNER_SELF, ROLE_ANCHOR } from './layout.ts';

/** Sequence numbers are u32 and compared by distance (RFC 9293 section 3.4). */
export interface Range {
  start: number;
  /** After the last byte; meaningless while `open`. */
  end: number;
  /** The own socket's number for `start` (own ranges only). */
  local: number;
  /** Added to the own clock's timestamps. */
  stamp: number;
  /** OWNER_SELF, or the index of a peer node. */
  owner: number;
  open: boolean;
  /** May begin only while the rules' lease runs. */
  leased: boolean;
  /**
   * All of the range is acknowledged, and its owner may not have heard: it gets only the acknowledgements that answer
   * its retransmissions.
   */
  late?: boolean;
}

/** Everything the router knows of a flow; written by user space, read by the programs. */
export interface FlowRules {
  role: number;
  /** Shift of the window field in the client's segments. */
  clientScale: number;
  flags: number;
  engine: number;
  ownNext: number;
  inLocal: number;
  inWire: number;
  inWindow: number;
  inTsecr: number;
  congestionWindow: number;
  watch: number;
  epoch: number;
  stamp: number;
  leaseNs: number;
  /** At an anchor: shift of the window field in the own socket's segments. */
  inScale: number;
  /** At a target: the anchor whose copies it takes. */
  anchor: number;
  ranges: Range[];
}

/** A range further behind the last acknowledgement than this is moved up, so that distances stay below 2^31. */
const REBASE_BEHIND_BYTES = 2 ** 28;
/** An own range begins this far before the first byte it is needed for: everything unacknowledged is inside. */
export const OWN_LEAD_BYTES = 2 ** 27;

/**
 * Whenever the sender changes, timestamps go on this much ahead: several clocks are read and set to the millisecond
 * on the way, each a source of one millisecond, and the client must never see time go back (RFC 7323 section 5).
 */
export const STAMP_STEP_MS = 5;

export function distance(from: number, to: number): number {
  return (to - from) | 0;
}

export function emptyRules(role: number): FlowRules {
  return {
    role,
    clientScale: 0,
    flags: 0,
    engine: 0,
    ownNext: 0,
    inLocal: 0,
    inWire: 0,
    inWindow: 0,
    inTsecr: 0,
    congestionWindow: 0,
    watch: 0,
    epoch: 0,
    stamp: 0,
    leaseNs: 0,
    inScale: 0,
    anchor: OWNER_SELF,
    ranges: [],
  };
}

/** The range at the end of what is known, if any. */
export function lastRange(rules: FlowRules): Range | undefined {
  return rules.ranges.at(-1);
}

/** Where the next byte of the out-half goes, in the client's space. Throws while a target's end is unknown. */
export function nextWire(rules: FlowRules): number {
  const last = lastRange(rules);
  assert(last !== undefined, 'a flow in the router has a range');
  if (!last.open) return last.end;
  assert(last.owner === OWNER_SELF, 'the end of a target range is not known yet');
  return (last.start + distance(last.local, rules.ownNext)) >>> 0;
}

/** The own socket's number up to which it may send when the client's window ends at `edge`: its own bytes before that. */
export function localEdge(rules: FlowRules, edge: number): number {
  let first: Range | undefined;
  let range: Range | undefined;
  for (const one of rules.ranges) {
    if (one.owner !== OWNER_SELF) continue;
    first ??= one;
    if (distance(one.start, edge) >= 0) range = one;
  }
  if (range === undefined) return first === undefined ? rules.ownNext : first.local;
  const bytes = distance(range.start, edge);
  return (range.local + (range.open ? bytes : Math.min(bytes, distance(range.start, range.end)))) >>> 0;
}

/** True when a handoff fits: the range of the target and one of the own after it. */
export function hasRoom(rules: FlowRules): boolean {
  return rules.ranges.length <= MAX_RANGES - 2;
}

/** The first range of an anchor's flow: its own socket, identity, from well before `sequence`. */
export function beginOwn(rules: FlowRules, sequence: number): void {
  const start = (sequence - OWN_LEAD_BYTES) >>> 0;
  rules.ownNext = sequence >>> 0;
  rules.ranges = [{ start, end: 0, local: start, stamp: 0, owner: OWNER_SELF, open: true, leased: false }];
}

/** The anchor keeps the flow's time; a target is told. */
export function advanceStamp(rules: FlowRules): void {
  if (rules.role === ROLE_ANCHOR) rules.stamp = (rules.stamp + STAMP_STEP_MS) >>> 0;
}

/** The own socket sends next. `bytes` counts are added with `advanceOwn`. */
export function openOwn(rules: FlowRules, start: number, leased = false): void {
  const last = lastRange(rules);
  if (last?.owner === OWNER_SELF) {
    // Nobody else sent since: the same range goes on.
    if (last.open || (last.end === start && !leased && !last.leased)) {
      last.open = true;
      return;
    }
  }
  assert(rules.ranges.length < MAX_RANGES, 'hasRoom was asked');
  advanceStamp(rules);
  rules.ranges.push({
    start,
    end: 0,
    local: rules.ownNext,
    stamp: rules.stamp,
    owner: OWNER_SELF,
    open: true,
    leased,
  });
}

/** `bytes` more were handed to the own socket. */
export function advanceOwn(rules: FlowRules, bytes: number): void {
  rules.ownNext = (rules.ownNext + bytes) >>> 0;
}

/** Ends the own open range where the own socket stands; an empty one goes. Returns its end in the client's space. */
export function closeOwn(rules: FlowRules): number {
  const last = lastRange(rules);
  assert(last?.open && last.owner === OWNER_SELF, 'the own range is open');
  last.end = (last.start + distance(last.local, rules.ownNext)) >>> 0;
  last.open = false;
  if (last.end === last.start) rules.ranges.pop();
  return last.end;
}

/** A target sends from `start` on. `changes`: another node than the one before. */
export function openTarget(rules: FlowRules, owner: number, start: number, changes = true): void {
  assert(rules.ranges.length < MAX_RANGES && owner !== OWNER_SELF, 'hasRoom was asked');
  if (changes) advanceStamp(rules);
  rules.ranges.push({ start, end: 0, local: 0, stamp: 0, owner, open: true, leased: false });
}

/** The target that sends now ends at `end`; when it sent nothing, its range goes. */
export function endTarget(rules: FlowRules, end: number): void {
  const last = lastRange(rules);
  assert(last?.open && last.owner !== OWNER_SELF, 'a target range is open');
  last.end = end;
  last.open = false;
  if (last.end === last.start) {
    rules.ranges.pop();
    if (lastRange(rules)?.end !== end) openOwn(rules, end);
  }
}

/**
 * At an anchor the end of the ranges says where the next byte belongs: where the last range has gone, an own one
 * takes its place. A target is told where to start.
 */
function keepEnd(rules: FlowRules, last: Range | undefined): void {
  if (rules.role === ROLE_ANCHOR && last !== undefined && lastRange(rules) !== last) openOwn(rules, last.end);
}

/**
 * `owner` has every byte up to `end` acknowledged: its ranges up to there go. Returns true when one went.
 */
export function collect(rules: FlowRules, owner: number, end: number): boolean {
  return drop(rules, owner, end, undefined);
}

/**
 * `owner` is to hear of no acknowledgement any more: its ranges that the client has go, but not the newest of the
 * flow, whose fate is another question. Returns true when one went.
 */
export function forget(rules: FlowRules, owner: number, acknowledged: number): boolean {
  return drop(rules, owner, acknowledged, lastRange(rules));
}

/** Takes away the ranges of `owner` that end at `end` or before, but not `spared`; says whether there were any. */
function drop(rules: FlowRules, owner: number, end: number, spared: Range | undefined): boolean {
  const { ranges } = rules;
  const last = lastRange(rules);
  let kept = 0;
  for (const range of ranges) {
    const goes = range !== spared && range.owner === owner && !range.open && distance(range.end, end) >= 0;
    if (!goes) ranges[kept++] = range;
  }
  if (kept === ranges.length) return false;
  ranges.length = kept;
  keepEnd(rules, last);
  return true;
}

/** Drops own ranges that the client has acknowledged, and moves far-behind starts up. Returns true on change. */
export function trim(rules: FlowRules, acknowledged: number): boolean {
  let changed = drop(rules, OWNER_SELF, acknowledged, undefined);
  for (const range of rules.ranges) {
    const behind = distance(range.start, acknowledged);
    if (behind < REBASE_BEHIND_BYTES) continue;
    const shift = behind - REBASE_BEHIND_BYTES / 2;
    range.start = (range.start + shift) >>> 0;
    range.local = (range.local + shift) >>> 0;
    changed = true;
  }
  return changed;
}
