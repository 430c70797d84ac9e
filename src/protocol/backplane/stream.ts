/**
 * A stream: the bytes of one conversation over a link, each way by the credit of the end that takes them. Either end may
 * send STREAM_WINDOW_BYTES, and as much more as the other asks for (RELAY_CREDIT) when it has used what came
 * (RELAY_DATA). So no end has more than that of another's bytes to keep, whatever becomes of their reader. Pure: frames
 * come in as values and go out as values. In what order streams take their turns is in streams.ts.
 *
 *     StreamOutput  --RELAY_DATA-->  StreamInput
 *                  <--RELAY_CREDIT--
 */
import { FrameType, type RelayCredit, type RelayData, type RelayedEnd } from './frames.ts';

/** Bytes that either end may send before the other has asked for more. */
export const STREAM_WINDOW_BYTES = 256 * 1024;

/** Bytes of one RELAY_DATA frame at most, and of what a stream sends in one turn. */
export const STREAM_PIECE_BYTES = 64 * 1024;

/** What the two ends of one direction keep to. */
export interface StreamDirection {
  readonly requestBody: boolean;
  /** What its sender may be ahead of the credit: it passes on what it has read at once. */
  readonly slackBytes: number;
  /** Credit is given in portions of this size at least. */
  readonly portionBytes: number;
  /** Whether its first piece goes before the pieces of streams that have begun. */
  readonly beginsFirst: boolean;
}

export const REQUEST_BODY: StreamDirection = {
  requestBody: true,
  slackBytes: STREAM_WINDOW_BYTES,
  portionBytes: 1,
  beginsFirst: false,
};

export const RESPONSE: StreamDirection = {
  requestBody: false,
  slackBytes: 0,
  portionBytes: STREAM_WINDOW_BYTES / 4,
  beginsFirst: true,
};

/** One direction of a stream, at the end that sends. */
export class StreamOutput {
  readonly #direction: StreamDirection;
  /** Bytes that the other end takes; below 0 it is that far ahead. */
  #creditBytes = STREAM_WINDOW_BYTES;
  /** What is left of its turn: its last frame may go beyond that. Below 0 it has had that much of later ones. */
  #turnBytes = 0;
  sentBytes = 0;

  constructor(direction: StreamDirection) {
    this.#direction = direction;
  }

  get hasCredit(): boolean {
    return this.#creditBytes > 0;
  }

  /** Whether its next piece is its first, and is to go before those of streams that have begun. */
  get isFirst(): boolean {
    return this.#direction.beginsFirst && this.sentBytes === 0;
  }

  /** How many bytes its next frame may have, in this turn and by its credit; 0 or less: none. */
  get roomBytes(): number {
    return this.#turnBytes > 0 ? Math.min(STREAM_PIECE_BYTES, this.#creditBytes) : 0;
  }

  /** Begins a turn: no stream waits, so this one may send a piece at once. */
  beginTurn(): void {
    this.#turnBytes = STREAM_PIECE_BYTES;
  }

  /** Takes its turn while others wait. False: it has sent more than one turn allows before, and waits for the next. */
  takeTurn(): boolean {
    this.#turnBytes = Math.min(this.#turnBytes, 0) + STREAM_PIECE_BYTES;
    return this.#turnBytes > 0;
  }

  /** `end`: of a response, whose last bytes these are. */
  frame(request: number, bytes: Buffer, last: boolean, end: RelayedEnd | null = null): RelayData {
    const { requestBody } = this.#direction;
    return { type: FrameType.RELAY_DATA, request, last, requestBody, end, bytes };
  }

  /** The frame has been sent: counts its bytes. */
  sent({ bytes }: RelayData): void {
    this.sentBytes += bytes.length;
    this.#creditBytes -= bytes.length;
    this.#turnBytes -= bytes.length;
  }

  /** The other end asks for more. False: for more than it was sent. */
  granted({ credit }: RelayCredit): boolean {
    this.#creditBytes += credit;
    return this.#creditBytes <= STREAM_WINDOW_BYTES;
  }
}

/** One direction of a stream, at the end that receives. */
export class StreamInput {
  readonly #direction: StreamDirection;
  /** Bytes that the other end may still send. */
  #leftBytes: number;
  /** Bytes used here that were not asked for again. */
  #usedBytes = 0;

  constructor(direction: StreamDirection) {
    this.#direction = direction;
    this.#leftBytes = STREAM_WINDOW_BYTES + direction.slackBytes;
  }

  /** False: more has come than was asked for. */
  arrived(bytes: number): boolean {
    this.#leftBytes -= bytes;
    return this.#leftBytes >= 0;
  }

  /** Bytes that came have left for where they are read. */
  used(bytes: number): void {
    this.#usedBytes += bytes;
  }

  /** Asks for as much as was used; null: that is not worth a frame yet. */
  credit(request: number): RelayCredit | null {
    const credit = this.#usedBytes;
    if (credit < this.#direction.portionBytes) return null;
    this.#leftBytes += credit;
    this.#usedBytes = 0;
    return { type: FrameType.RELAY_CREDIT, request, credit };
  }
}
