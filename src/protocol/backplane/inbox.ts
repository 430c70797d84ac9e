/**
 * The receiving side of a link: takes the byte stream in whatever portions it comes, runs the handshake, then
 * cuts the stream into records, opens each and hands its frames on one by one.
 */
import { SessionError } from './errors.ts';
import { bearsSecret, decodeFrame, type Frame, frameLength, isKept } from './frames.ts';
import { MAX_RECORD_BYTES, RECORD_HEADER_BYTES, recordLength } from './record.ts';
import type { Session } from './session.ts';

/** Called once per frame, in order. The bytes of RELAY_DATA are gone when it returns; any other frame's are its own. */
export type FrameHandler = (frame: Frame) => void;

export class Inbox {
  readonly #session: Session;
  readonly #onFrame: FrameHandler;
  /** The record that is not yet whole; records that arrive whole never come here. */
  #partial: Buffer | null = null;
  #partialBytes = 0;
  #started = false;

  constructor(session: Session, onFrame: FrameHandler) {
    this.#session = session;
    this.#onFrame = onFrame;
  }

  /** Bytes of the record that is not yet whole. */
  get bytesHeld(): number {
    return this.#partialBytes;
  }

  /**
   * Takes `bytes` from `at` to `end`; the caller may reuse them afterwards. Handshake answers then wait in the
   * session (`Outbox.flush` sends them). Throws SessionError or FrameError, the session then being CLOSED, and
   * passes on what the handler throws, the session then being CLOSED too, because the rest of the batch is lost.
   * A handler may close the session: the rest of the bytes is then dropped silently.
   */
  receive(bytes: Buffer, at = 0, end = bytes.length): void {
    try {
      this.#receive(bytes, at, end);
    } catch (error) {
      this.#session.close();
      throw error;
    }
  }

  /** The peer closed the stream: throws SessionError TRUNCATED unless an end record came right before. */
  end(): void {
    const whole = this.#session.receivedEnd && this.#partialBytes === 0;
    this.#session.close();
    if (!whole)
      throw new SessionError('TRUNCATED', this.#started ? 'the stream was cut' : 'nothing was sent');
  }

  #receive(bytes: Buffer, at: number, end: number): void {
    if (at < end) this.#started = true;
    if (this.#session.state !== 'OPEN') at = this.#session.receiveHandshake(bytes, at, end);
    if (this.#partialBytes > 0) at = this.#completePartial(bytes, at, end);
    while (end - at >= RECORD_HEADER_BYTES && this.#session.state === 'OPEN') {
      const next = at + recordLength(bytes, at);
      if (next > end) break;
      this.#openRecord(bytes, at, next);
      at = next;
    }
    if (at < end && this.#session.state === 'OPEN') this.#keep(bytes, at, end);
  }

  /** Adds to the partial record, first up to its length field, then up to its end; opens it when it is whole. */
  #completePartial(bytes: Buffer, at: number, end: number): number {
    if (this.#partialBytes < RECORD_HEADER_BYTES) {
      at = this.#keep(bytes, at, Math.min(end, at + RECORD_HEADER_BYTES - this.#partialBytes));
      if (this.#partialBytes < RECORD_HEADER_BYTES) return at;
    }
    const partial = this.#partial!;
    const length = recordLength(partial, 0);
    at = this.#keep(bytes, at, Math.min(end, at + length - this.#partialBytes));
    if (this.#partialBytes < length) return at;
    this.#partialBytes = 0;
    this.#openRecord(partial, 0, length);
    return at;
  }

  #keep(bytes: Buffer, at: number, end: number): number {
    // Allocated for a peer that has proved itself, and only when a record comes in parts.
    this.#partial ??= Buffer.allocUnsafeSlow(MAX_RECORD_BYTES);
    bytes.copy(this.#partial, this.#partialBytes, at, end);
    this.#partialBytes += end - at;
    return end;
  }

  #openRecord(bytes: Buffer, at: number, end: number): void {
    const batch = this.#session.open(bytes, at, end);
    let from = 0;
    while (from < batch.length && this.#session.state === 'OPEN') {
      const to = from + frameLength(batch, from, batch.length);
      const frame = isKept(batch, from)
        ? decodeFrame(Buffer.from(batch.subarray(from, to)))
        : decodeFrame(batch, from, to);
      // What took the frame has a copy of the secret, and wipes that itself.
      if (bearsSecret(frame)) batch.fill(0, from, to);
      this.#onFrame(frame);
      from = to;
    }
  }
}
