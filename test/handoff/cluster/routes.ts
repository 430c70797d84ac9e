/** Where a node's router sends what comes of connections, and what it keeps of those that move. */
import type { Endpoint } from '../../../src/base/address.ts';
import type { Replay } from '../../../src/handoff/move/parked.ts';
import { flowKeyText } from '../../../src/kernel/router/flow-key.ts';
import { OWNER_PARKED } from '../../../src/kernel/router/layout.ts';
import type { ParkedRing } from '../../../src/kernel/router/parked-ring.ts';
import type { Route } from '../../../src/kernel/router/routes.ts';
import type { Client, Segment } from './wire.ts';

export class RoutesModel {
  readonly #owners = new Map<string, Route>();

  get size(): number {
    return this.#owners.size;
  }

  /** Null: there is no route. */
  ownerOf({ key }: Client): number | null {
    return this.#owners.get(key)?.owner ?? null;
  }

  set(client: Endpoint, pub: Endpoint, owner: number): boolean {
    this.#owners.set(flowKeyText(client, pub), { client, public: pub, owner });
    return true;
  }

  owner(client: Endpoint, pub: Endpoint): number {
    return this.#owners.get(flowKeyText(client, pub))?.owner ?? 0;
  }

  delete(client: Endpoint, pub: Endpoint): void {
    this.#owners.delete(flowKeyText(client, pub));
  }

  /** No client uses its port anew. */
  end(client: Endpoint, pub: Endpoint, owner: number): boolean {
    if (this.owner(client, pub) === owner) this.delete(client, pub);
    return true;
  }

  entries(): Route[] {
    return [...this.#owners.values()];
  }

  park(client: Endpoint, pub: Endpoint, engine: number): () => void {
    const former = this.#owners.get(flowKeyText(client, pub));
    this.set(client, pub, OWNER_PARKED | engine);
    return () => {
      if (former === undefined) this.delete(client, pub);
      else this.set(client, pub, former.owner);
    };
  }
}

const FRAME_BYTES = 4;

/** Rule park's ring, and what comes in again (rule replay): segments by number. */
export class RingModel implements Pick<ParkedRing, 'drain'>, Replay {
  readonly #segments: Segment[] = [];
  #kept: number[] = [];
  readonly #again: (segment: Segment) => void;

  constructor(again: (segment: Segment) => void) {
    this.#again = again;
  }

  get isEmpty(): boolean {
    return this.#kept.length === 0;
  }

  keep(segment: Segment): void {
    this.#kept.push(this.#segments.push(segment) - 1);
  }

  drain(each: (key: string, parked: { frame: Buffer; segmentBytes: number }) => void): void {
    for (const number of this.#kept.splice(0)) {
      const { ends } = this.#segments[number].client;
      const frame = Buffer.alloc(FRAME_BYTES);
      frame.writeUInt32LE(number);
      each(flowKeyText(ends.client, ends.public), { frame, segmentBytes: 0 });
    }
  }

  write(frame: Buffer): boolean {
    this.#again(this.#segments[frame.readUInt32LE()]);
    return true;
  }
}
