/**
 * Who may begin a handshake with this node: other nodes, which are known by their addresses, a few at once and so often
 * from each. So a stranger takes nothing and cannot keep a node out, and whoever sits at a node's address buys no more
 * of the arithmetic of handshakes than is spared. Pure: the time comes as an argument.
 */
import { parseAddress } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';

/** Handshakes that one address may begin in a row, for each engine that may dial from there. */
const BURST_PER_ENGINE = 10;
/** How many of those an address regains in a second. */
const PER_SECOND = 20;
/**
 * Handshakes that one address may have under way, for each engine that may dial from there: two, as a new one may begin
 * before the old one is known to be dead.
 */
const WAITING_PER_ENGINE = 2;

interface Door {
  /** The node that the address belongs to. */
  readonly node: string;
  readonly burst: number;
  readonly maxWaiting: number;
  left: number;
  countedAtMs: number;
}

export type Refusal = 'stranger' | 'too often';

const keyOf = (address: Buffer): string => address.toString('latin1');

export class Gate {
  readonly #doors = new Map<string, Door>();

  constructor({ nodes }: Pick<ClusterConfig, 'nodes'>, self: number) {
    for (const [index, { name, address, address6, engines }] of nodes.entries()) {
      if (index === self) continue;
      const burst = BURST_PER_ENGINE * engines;
      const maxWaiting = WAITING_PER_ENGINE * engines;
      for (const one of address6 === null ? [address] : [address, address6]) {
        const door = { node: name, burst, maxWaiting, left: burst, countedAtMs: 0 };
        this.#doors.set(keyOf(parseAddress(one)), door);
      }
    }
  }

  /** The node that an address is of; null: it is no other node's. */
  nodeAt(address: Buffer): string | null {
    return this.#doors.get(keyOf(address))?.node ?? null;
  }

  /** How many handshakes from an address may be under way at once. */
  maxWaiting(address: Buffer): number {
    return this.#doors.get(keyOf(address))?.maxWaiting ?? 0;
  }

  /** Counts a connection that has been accepted. Not null: it is to be closed. */
  refuses(address: Buffer, nowMs: number): Refusal | null {
    const door = this.#doors.get(keyOf(address));
    if (door === undefined) return 'stranger';
    const regained = ((nowMs - door.countedAtMs) * PER_SECOND) / 1000;
    door.left = Math.min(door.burst, door.left + regained);
    door.countedAtMs = nowMs;
    if (door.left < 1) return 'too often';
    door.left--;
    return null;
  }
}
