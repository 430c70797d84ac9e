/** How a target seals a response of a TLS connection: by the anchor's write half, which it is lent for this response. */
import { contentBytesAt, type Layout, recordCount, wireBytes } from '../../protocol/tls/record-layout.ts';
import { MAX_KEY_RECORDS, Sealer } from '../../protocol/tls/records.ts';
import type { LentHalf } from '../../protocol/tls/traffic.ts';
import type { ByteSink } from '../../serve/byte-sink.ts';
import type { Exchange } from '../../serve/exchange.ts';
import { SealedSink, type SealingHalf } from '../../serve/sealed-sink.ts';

export class ResponseSeal implements SealingHalf {
  readonly sealer: Sealer;
  readonly #number: number;
  readonly #cut: number;
  /** Null: the length is not known. */
  readonly #layout: Layout | null;
  #sink: SealedSink | null = null;

  /** What is lent is copied: the caller wipes its own. `exchange`: nothing of it is sent. */
  constructor({ suite, key, iv, number, cut }: LentHalf, exchange: Exchange) {
    this.sealer = new Sealer({ suite, key: Buffer.from(key), iv: Buffer.from(iv), number });
    this.#number = number;
    this.#cut = cut;
    this.#layout = exchange.layout;
  }

  /** Bytes of the next record that the client has already. */
  get cut(): number {
    return this.sealer.number === this.#number ? this.#cut : 0;
  }

  /** Whether another node could go on: where the records lie follows from what the response is. */
  get isMeasured(): boolean {
    return this.#layout !== null;
  }

  /** Whether the response can be sealed as the anchor wants it. */
  get fits(): boolean {
    const layout = this.#layout;
    if (layout === null) return this.#cut === 0 && this.#number < MAX_KEY_RECORDS;
    if (this.#number + recordCount(layout) > MAX_KEY_RECORDS) return false;
    return this.#cut === 0 || this.#cut < contentBytesAt(layout, 0) + this.sealer.suite.overheadBytes;
  }

  /** What the response takes of the client's sequence space; -1: not known. */
  get wireBytes(): number {
    return this.#layout === null ? -1 : wireBytes(this.#layout, this.sealer.suite) - this.#cut;
  }

  /** How many records it has, as far as that is known. */
  get records(): number {
    return this.#layout === null ? this.sealer.number - this.#number : recordCount(this.#layout);
  }

  /** What takes the response's bytes and passes records on to `socket`. */
  out(socket: ByteSink): SealedSink {
    this.#sink ??= new SealedSink(socket, this, this.#layout);
    return this.#sink;
  }

  /** Forgets the key. Idempotent. */
  end(): void {
    this.sealer.free();
  }
}
