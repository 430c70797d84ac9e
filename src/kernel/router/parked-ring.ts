/** The segments that the router has kept for an engine, of connections that move (rule park). */
import { createRingBuffer, setInnerMap } from '../linux/bpf.ts';
import * as libc from '../linux/libc.ts';
import { RingBuffer } from '../linux/ring-buffer.ts';
import { KEY_BYTES, PARKED_HEADER_BYTES, PARKING_BYTES } from './layout.ts';

const LENGTH = 36;
const GSO_SIZE = 40;

/** A segment as it came, or several that the kernel has put together. */
export interface ParkedSegment {
  /** The segment with its Ethernet header. */
  readonly frame: Buffer;
  /** Payload bytes of each segment; 0: it is one. */
  readonly segmentBytes: number;
}

export class ParkedRing {
  /** Readable when there is something. */
  readonly fd: number;
  readonly #ring: RingBuffer;

  constructor(parkings: number, engine: number) {
    this.fd = createRingBuffer(PARKING_BYTES);
    setInnerMap(parkings, engine, this.fd);
    this.#ring = new RingBuffer(this.fd, PARKING_BYTES);
  }

  /** Takes everything out. `key`: of the segment's connection, as text; the frame is a view, valid during the call. */
  drain(each: (key: string, segment: ParkedSegment) => void): void {
    this.#ring.drain((data, at) => {
      const record = Buffer.from(data.buffer, data.byteOffset + at, PARKED_HEADER_BYTES);
      const start = data.byteOffset + at + PARKED_HEADER_BYTES;
      const frame = Buffer.from(data.buffer, start, record.readUInt32LE(LENGTH));
      each(record.toString('latin1', 0, KEY_BYTES), { frame, segmentBytes: record.readUInt32LE(GSO_SIZE) });
    });
  }

  close(): void {
    this.#ring.close();
    libc.close(this.fd);
  }
}
