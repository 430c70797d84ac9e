/**
 * A connection that has arrived here, and whose initiator is gone before it has said that the connection is ours: it may
 * have had our MIGRATE_OK, or have gone on. The one who knows is who routes the client's segments. So the client is made
 * to send one, and whoever gets it is the owner. At the connection's home, too: its route still leads to the initiator,
 * whose own leads back if it had our MIGRATE_OK. An initiator that has gone on says so to the home (ROUTE, later CLEANUP).
 */
import { SystemError } from '../../kernel/linux/errors.ts';
import type { FlowRules } from '../../kernel/router/ranges.ts';
import { distance } from '../../kernel/tcp/sequence.ts';
import { type Cleanup, FrameType, type Route } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { LOST_LIMIT_MS } from '../flow/agreed.ts';
import { type FourTuple, tupleKey, tupleToFrame } from '../flow/four-tuple.ts';
import type { MovePorts } from './move-ports.ts';

/** An initiator that lives has gone on by then, and told the home. */
const CLAIM_AFTER_MS = 2000;
const IN_DOUBT_MS = 10_000;
/** At home: then its route to the initiator ends, and what comes here says no more who has the connection. */
const HOME_IN_DOUBT_MS = LOST_LIMIT_MS - 1000;
const PROBE_INTERVAL_MS = 500;
/** How long the router lets a probe out. */
const PROBE_LEASE_MS = 20;
const NS_PER_MS = 1_000_000;

/** What has arrived. */
export interface Arrived {
  readonly ends: FourTuple;
  /** Moves of the connection, this one included. */
  readonly epoch: number;
  readonly initiator: number;
  readonly fd: number;
  readonly slot: number;
  readonly rules: FlowRules;
}

export class Doubt {
  readonly #ports: MovePorts;
  readonly #arrived: Arrived;
  readonly #key: string;
  readonly #home: number;
  readonly #sinceMs: number;
  #probedAtMs = 0;
  #hasClaimed = false;

  constructor(ports: MovePorts, arrived: Arrived) {
    this.#ports = ports;
    this.#arrived = arrived;
    this.#key = tupleKey(arrived.ends);
    this.#home = ports.homeOf(arrived.ends.public.address);
    this.#sinceMs = ports.clock.nowMs;
  }

  /** Whose the connection is, as far as is known. Makes the client speak. */
  look(nowMs: number): 'ours' | 'not ours' | 'unknown' {
    const ports = this.#ports;
    if (ports.table.segments(this.#arrived.slot) > 0) return 'ours';
    const isHome = this.#home === ports.self;
    const forMs = nowMs - this.#sinceMs;
    if (forMs > (isHome ? HOME_IN_DOUBT_MS : IN_DOUBT_MS)) {
      // No node has the connection: what this one has claimed of it ends.
      if (this.#hasClaimed) this.#tellHome(FrameType.CLEANUP);
      return 'not ours';
    }
    if (forMs > CLAIM_AFTER_MS && !this.#hasClaimed && !isHome) this.#claim();
    if (nowMs - this.#probedAtMs >= PROBE_INTERVAL_MS) this.#probe(nowMs);
    return 'unknown';
  }

  /** Whether another node that says to have had the connection with this key for so many moves has this one: for more. */
  isSettledBy(key: string, epoch: number): boolean {
    return key === this.#key && distance(this.#arrived.epoch, epoch) > 0;
  }

  /** The initiator was not the home: unless that has heard from it since, its segments are to come here. */
  #claim(): void {
    this.#hasClaimed = true;
    if (this.#home !== this.#arrived.initiator) this.#tellHome(FrameType.ROUTE);
  }

  #tellHome(type: Route['type'] | Cleanup['type']): void {
    const { ends, epoch } = this.#arrived;
    this.#linkHome?.send({ type, flow: tupleToFrame(ends), epoch });
  }

  get #linkHome(): Link | undefined {
    return this.#ports.linkFor(this.#home, this.#key);
  }

  #probe(nowMs: number): void {
    const { fd, slot, rules } = this.#arrived;
    this.#probedAtMs = nowMs;
    rules.leaseNs = (nowMs + PROBE_LEASE_MS) * NS_PER_MS;
    this.#ports.table.write(slot, rules);
    try {
      this.#ports.kernel.probe(fd);
    } catch (error) {
      // The socket has failed: then no segment comes to it, either.
      if (!(error instanceof SystemError)) throw error;
    }
  }
}
