/** The router as one engine uses it: its share of the flow table, its events, its sign of life. */
import { createRingBuffer, KernelMap, setInnerMap } from '../linux/bpf.ts';
import * as libc from '../linux/libc.ts';
import { RingBuffer } from '../linux/ring-buffer.ts';
import { Control } from './control.ts';
import { Flows } from './flows.ts';
import { CONTROL_STOPS, EVENT_BYTES, FOLLOWED_HEADER_BYTES, RING_BYTES } from './layout.ts';
import { ParkedRing } from './parked-ring.ts';
import { Routes } from './routes.ts';
import { Spread } from './spread.ts';

/** Descriptors of the loaded router's maps, and of one of its programs; valid in every thread of the process. */
export interface RouterHandles {
  readonly slots: number;
  readonly flows: number;
  readonly observed: number;
  readonly control: number;
  readonly peers: number;
  readonly events: number;
  readonly parkings: number;
  readonly routes: number;
  readonly spreadTable: number;
  readonly heirs: number;
  readonly ended: number;
  /** The program of rule deaf, a socket filter. */
  readonly deafFilter: number;
  /** Size of the whole flow table, and of an engine's share of it. */
  readonly totalFlows: number;
  readonly flowsPerEngine: number;
}

/** Bytes of a client's next request, as the router at a clone has seen them (rule follow). */
export interface FollowedBytes {
  readonly epoch: number;
  /** The client's number of the first byte. */
  readonly sequence: number;
  /** When the anchor sent them on: its monotonic clock in milliseconds, modulo 2^16. */
  readonly sentMs: number;
  /** When they came: the own monotonic clock in whole milliseconds. */
  readonly arrivedMs: number;
  /** A view into the ring: valid during the call. */
  readonly bytes: Buffer;
}

export class RouterEngine {
  readonly flows: Flows;
  /** Readable when the router wants attention. */
  readonly eventsFd: number;
  readonly #ring: RingBuffer;
  /** What has come of connections that move. */
  readonly parked: ParkedRing;
  readonly #control: Control;
  readonly routes: Routes;
  readonly spread: Spread;
  readonly #peers: KernelMap;

  constructor(handles: RouterHandles, engine: number) {
    const { flowsPerEngine, totalFlows } = handles;
    this.flows = new Flows(handles, totalFlows, engine * flowsPerEngine, flowsPerEngine);
    this.eventsFd = createRingBuffer(RING_BYTES);
    setInnerMap(handles.events, engine, this.eventsFd);
    this.#ring = new RingBuffer(this.eventsFd, RING_BYTES);
    this.parked = new ParkedRing(handles.parkings, engine);
    this.#control = new Control(handles.control);
    this.routes = new Routes(handles.routes, this.#control);
    this.spread = new Spread(handles.spreadTable, handles.heirs, this.#control);
    this.#peers = new KernelMap(handles.peers, 4, 8);
    this.stayAlive();
  }

  /** The rules go on holding. */
  stayAlive(): void {
    this.#control.stayAlive();
  }

  /** Nobody listens any more, and yet the process has not been killed: what its connections still say is its own. */
  stops(): void {
    this.#control.raise(CONTROL_STOPS);
  }

  /** Where segments for a peer are forwarded to. */
  setPeer(owner: number, mac: Buffer): void {
    this.#peers.key.bytes.writeUInt32LE(owner, 0);
    this.#peers.value.bytes.fill(0);
    mac.copy(this.#peers.value.bytes, 0);
    this.#peers.update();
  }

  /**
   * Takes the events away: `acknowledged` gets the slot of each flow whose watched byte is, `followed` what came of a
   * next request.
   */
  drainEvents(
    acknowledged: (slot: number) => void,
    followed: (slot: number, bytes: FollowedBytes) => void,
  ): void {
    this.#ring.drain((data, at, lengthBytes) => {
      const slot = data.getUint32(at, true);
      if (lengthBytes === EVENT_BYTES) acknowledged(slot);
      else followed(slot, readFollowed(data, at));
    });
  }

  close(): void {
    this.#ring.close();
    this.parked.close();
    libc.close(this.eventsFd);
    this.flows.close();
    this.spread.close();
    this.#control.close();
  }
}

function readFollowed(data: DataView, at: number): FollowedBytes {
  const start = data.byteOffset + at + FOLLOWED_HEADER_BYTES;
  return {
    epoch: data.getUint32(at + 4, true),
    sequence: data.getUint32(at + 8, true),
    sentMs: data.getUint16(at + 12, true),
    arrivedMs: Number(data.getBigUint64(at + 16, true) / 1_000_000n),
    bytes: Buffer.from(data.buffer, start, data.getUint16(at + 14, true)),
  };
}
