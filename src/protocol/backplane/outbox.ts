/**
 * The sending side of a link: frames are encoded straight into a batch, `flush` seals the batch behind what
 * still waits to be sent, and the engine sends from `storage` as much as the socket takes.
 *
 *     storage  [ sent | start ... pending ... end | free ]      batch  [ frames not yet sealed | free ]
 *
 * What waits is one piece, so one send() takes all of it. When `free` does not suffice it is moved to the front;
 * storage is twice the limit, so that a byte is moved at most once on average.
 */
import { bearsSecret, encodeFrame, type Frame, frameSize, isBulk } from './frames.ts';
import { GREETING_BYTES, PROOF_BYTES } from './handshake.ts';
import { MAX_BATCH_BYTES, RECORD_OVERHEAD_BYTES } from './record.ts';
import type { Session } from './session.ts';

/**
 * A batch is sealed before it gets larger than this, unless one frame is: a receiver gets small records whole, in one
 * piece of memory, and what is copied and encrypted in turns stays in a processor's cache.
 */
const BATCH_BYTES = 68 * 1024;
/** Bytes that may wait for one peer. A peer this far behind is served by other means: relay elsewhere, or local. */
export const OUTBOX_LIMIT_BYTES = 2 * 1024 * 1024;
/**
 * Room beside the queue's limit for small frames that end something (RESET, ABORT, DATA_DONE): refusing them would
 * leave things behind for ever.
 */
export const OUTBOX_RESERVE_BYTES = 256 * 1024;
const STORAGE_BYTES = 2 * (OUTBOX_LIMIT_BYTES + OUTBOX_RESERVE_BYTES);
/** Until the peer has proved itself: a greeting and a proof. */
const HANDSHAKE_BYTES = GREETING_BYTES + PROOF_BYTES;

export class Outbox {
  readonly #session: Session;
  #storage: Buffer;
  #batch: Buffer | null = null;
  #batchBytes = 0;
  /** The batch has a key in it. */
  #hasSecret = false;
  #start = 0;
  #end = 0;

  constructor(session: Session) {
    this.#session = session;
    this.#storage = Buffer.alloc(HANDSHAKE_BYTES);
    if (session.state === 'OPEN') this.#open();
  }

  /** What is to be sent; from the first frame on the same memory for the outbox's life. */
  get storage(): Buffer {
    return this.#storage;
  }

  /** The peer is one of ours: it may have us hold as much as a link is worth. */
  #open(): Buffer {
    const handshake = this.#storage;
    // Zeroed pages come from the kernel when first touched: an idle link costs address space only.
    this.#storage = Buffer.alloc(STORAGE_BYTES);
    handshake.copy(this.#storage, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#batch = Buffer.alloc(MAX_BATCH_BYTES);
    return this.#batch;
  }

  /** Where in `storage` the bytes to send start. */
  get start(): number {
    return this.#start;
  }

  /** How many bytes from `start` on are ready to be sent. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** Everything that waits: bytes ready to be sent, and the batch as it will be when sealed. */
  get bytesQueued(): number {
    const batch = this.#batchBytes === 0 ? 0 : this.#batchBytes + RECORD_OVERHEAD_BYTES;
    return this.pendingBytes + batch;
  }

  /** The bytes ready to be sent, as a view that `flush` and `consume` invalidate. */
  pending(): Buffer {
    return this.storage.subarray(this.#start, this.#end);
  }

  /**
   * Adds a frame to the batch. False, and nothing changed, when the session is not open or the frame would go
   * beyond the limit: the caller falls back. Throws FrameError, nothing changed either, for a frame that no
   * peer would take.
   */
  push(frame: Frame): boolean {
    if (this.#session.state !== 'OPEN') return false;
    const size = frameSize(frame);
    const limit = isBulk(frame) ? OUTBOX_LIMIT_BYTES : OUTBOX_LIMIT_BYTES + OUTBOX_RESERVE_BYTES;
    if (this.bytesQueued + size + RECORD_OVERHEAD_BYTES > limit) return false;
    if (this.#batchBytes > 0 && this.#batchBytes + size > BATCH_BYTES) this.flush();
    this.#hasSecret ||= bearsSecret(frame);
    this.#batchBytes = encodeFrame(frame, this.#batch ?? this.#open(), this.#batchBytes);
    return true;
  }

  /**
   * Makes everything ready to be sent: handshake messages first, then the batch as one record. To be called
   * once per turn of the event loop, and after `Inbox.receive`. Throws SessionError.
   */
  flush(): void {
    for (let message = this.#session.takeHandshake(); message; message = this.#session.takeHandshake()) {
      this.#makeRoom(message.length);
      this.storage.set(message, this.#end);
      this.#end += message.length;
    }
    if (this.#batchBytes === 0) return;
    this.#makeRoom(this.#batchBytes + RECORD_OVERHEAD_BYTES);
    this.#end = this.#session.seal(this.#batch!.subarray(0, this.#batchBytes), this.storage, this.#end);
    if (this.#hasSecret) this.#batch!.fill(0, 0, this.#batchBytes);
    this.#hasSecret = false;
    this.#batchBytes = 0;
  }

  /** Flushes, then adds the end record: for a link that is closed on purpose. */
  flushEnd(): void {
    this.flush();
    this.#makeRoom(RECORD_OVERHEAD_BYTES);
    this.#end = this.#session.sealEnd(this.storage, this.#end);
  }

  /** `bytes` of what was pending are sent. */
  consume(bytes: number): void {
    if (!(bytes >= 0 && bytes <= this.pendingBytes))
      throw new RangeError(`${bytes} bytes sent of ${this.pendingBytes}`);
    this.#start += bytes;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    }
  }

  #makeRoom(bytes: number): void {
    if (this.storage.length - this.#end >= bytes) return;
    this.storage.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}
