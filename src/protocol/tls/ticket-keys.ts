/**
 * The keys that session tickets are sealed with (RFC 8446 4.6.1): every node derives the same ones from the cluster key,
 * so a session resumes at any of them. They change with time; a ticket of the period before is good still, and so is
 * one of the period after, by a node whose clock is ahead.
 */
import { hkdfSync } from 'node:crypto';
import { allocate, type Memory } from '../../kernel/linux/memory.ts';

/** A ticket is good for that long, and its key for at most three times as long. */
export const TICKET_SECONDS = 6 * 3600;

const NAME_BYTES = 16;
export const HMAC_BYTES = 32;
const CIPHER_BYTES = 32;
const LABEL = 'baton tls tickets 1';
const SALT = Buffer.alloc(0);

export interface TicketKey {
  /** What a ticket says of its key. */
  readonly name: Buffer;
  /** The name and the keys of HMAC and of AES-256-CBC, in memory that does not move, and where each of them is. */
  readonly memory: Memory;
  readonly nameAt: number;
  readonly hmacAt: number;
  readonly cipherAt: number;
}

function derive(clusterKey: Buffer, period: number): TicketKey {
  const length = NAME_BYTES + HMAC_BYTES + CIPHER_BYTES;
  const derived = Buffer.from(hkdfSync('sha256', clusterKey, SALT, `${LABEL} ${period}`, length));
  const memory = allocate(length);
  derived.copy(memory.bytes);
  derived.fill(0);
  const { bytes, address } = memory;
  const hmacAt = address + NAME_BYTES;
  const cipherAt = hmacAt + HMAC_BYTES;
  return { name: bytes.subarray(0, NAME_BYTES), memory, nameAt: address, hmacAt, cipherAt };
}

export class TicketKeys {
  readonly #clusterKey: Buffer;
  /** The keys that are valid now, by period. */
  readonly #keys = new Map<number, TicketKey>();
  #period = -1;

  constructor(clusterKey: Buffer) {
    this.#clusterKey = clusterKey;
  }

  #renew(nowMs: number): void {
    const period = Math.floor(nowMs / 1000 / TICKET_SECONDS);
    if (period === this.#period) return;
    this.#period = period;
    for (const [at, key] of this.#keys) {
      if (Math.abs(at - period) <= 1) continue;
      key.memory.bytes.fill(0);
      this.#keys.delete(at);
    }
    for (const at of [period - 1, period, period + 1])
      if (!this.#keys.has(at)) this.#keys.set(at, derive(this.#clusterKey, at));
  }

  /** The key for a new ticket. `nowMs`: the time of day. */
  current(nowMs: number): TicketKey {
    this.#renew(nowMs);
    return this.#keys.get(this.#period)!;
  }

  /** The key of a ticket, by its name; null when it is too old, or none of this cluster's. */
  named(name: Buffer, nowMs: number): TicketKey | null {
    this.#renew(nowMs);
    for (const key of this.#keys.values()) if (key.name.equals(name)) return key;
    return null;
  }
}
