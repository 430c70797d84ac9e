/**
 * Connections that a killed process leaves: flows of which it was the anchor, in the maps of the router that stands on
 * the interface. Their sockets' numbers are not the clients', so only those rules could say anything to the clients; the
 * next router takes from them what each client is known to expect, and ends the connections (rule ended).
 */
import type { Endpoint } from '../../base/address.ts';
import { KernelMap } from '../linux/bpf.ts';
import { openMapOf } from '../linux/bpf-info.ts';
import { SystemError } from '../linux/errors.ts';
import * as libc from '../linux/libc.ts';
import { closeRawSockets, sendReset } from '../linux/raw.ts';
import { readFlowKey } from './flow-key.ts';
import * as layout from './layout.ts';

export interface LeftFlow {
  readonly client: Endpoint;
  readonly public: Endpoint;
  /** The client's highest acknowledgement: what it expects next, unless more has reached it. */
  readonly expected: number;
}

/**
 * Tells the clients, which may never say a word again by themselves: a reset with the number that each has acknowledged
 * last. The router sends a keepalive before it (rule ended), so one that has more says so, and that is answered. Throws
 * SystemError when one of them could not be sent to; the others are told all the same.
 */
export function resetLeft(flows: readonly LeftFlow[]): void {
  let failure: SystemError | null = null;
  try {
    for (const flow of flows) failure = tell(flow) ?? failure;
  } finally {
    closeRawSockets();
  }
  if (failure !== null) throw failure;
}

/** Null: it is out. */
function tell({ client, public: pub, expected }: LeftFlow): SystemError | null {
  try {
    sendReset(pub, client, expected);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return error;
  }
}

/** The flows in the maps of a router that stood before this one. */
export class LeftFlows {
  readonly #opened: number[] = [];
  readonly #maps: Readonly<Record<'slots' | 'flows' | 'observed', KernelMap>> | null;

  /** `mapIds`: of its program's maps, which stay as long as this is open. */
  constructor(mapIds: readonly number[]) {
    const open = (name: string, keyBytes: number, valueBytes: number): KernelMap | null => {
      const fd = openMapOf(mapIds, { name, keyBytes, valueBytes });
      if (fd < 0) return null;
      this.#opened.push(fd);
      return new KernelMap(fd, keyBytes, valueBytes);
    };
    const slots = open('slots', layout.KEY_BYTES, 4);
    const flows = open('flows', 4, layout.FLOW_WORDS * 4);
    const observed = open('observed', 4, layout.OBSERVED_WORDS * 4);
    this.#maps = slots === null || flows === null || observed === null ? null : { slots, flows, observed };
  }

  /** The flows as the maps have them now; none when another version's layout is not ours. */
  read(): LeftFlow[] {
    if (this.#maps === null) return [];
    const { slots, flows, observed } = this.#maps;
    return slots.keys().flatMap((key) => {
      key.copy(slots.key.bytes);
      if (!slots.lookup()) return [];
      for (const map of [flows, observed]) slots.value.bytes.copy(map.key.bytes);
      if (!flows.lookup() || !observed.lookup() || roleOf(flows.value.bytes) !== layout.ROLE_ANCHOR)
        return [];
      const expected = observed.value.bytes.readUInt32LE(layout.OBSERVED_ACK * 4);
      return [{ ...readFlowKey(key), expected }];
    });
  }

  close(): void {
    for (const fd of this.#opened.splice(0)) libc.close(fd);
  }
}

/** The role in a flow's rules: there are two copies, of which one is in force. */
function roleOf(flow: Buffer): number {
  const copy = flow.readUInt32LE(0) & 1;
  return flow[(2 + copy * layout.RULES_WORDS) * 4];
}
