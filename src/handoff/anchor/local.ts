/** Mechanism local: the node that has the connection answers on its own socket. */

import type { Count } from '../../base/counters.ts';
import { nowUs } from '../../base/time.ts';
import type { Later } from '../../kernel/loop/ports.ts';
import type { Continuation } from '../../protocol/http/continuation.ts';
import type { ByteSink } from '../../serve/byte-sink.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Request } from '../../serve/request.ts';
import { CLIENT_GONE, type Delivery, type DeliveryOwner, type SoFar } from '../request/delivery.ts';

export interface LocalPorts {
  readonly count: Count;
  readonly later: Later;
  /** Index of this node. */
  readonly self: number;
  /** Every response ends its segment: the connection's next one may be another node's. */
  readonly sharesConnections: boolean;
}

export interface LocalHost extends DeliveryOwner {
  /** Not null: other nodes have had the out-half of this connection. */
  readonly flow: object | null;
}

export class LocalDelivery implements Delivery {
  readonly #ports: LocalPorts;
  readonly #host: DeliveryOwner;
  readonly #request: Request;
  readonly #out: ByteSink;
  readonly #exchange: Exchange;
  readonly #mechanism: 'local' | 'migrate';
  #firstByteUs = -1;
  #over = false;
  #paused = false;

  constructor(
    ports: LocalPorts,
    host: LocalHost,
    request: Request,
    exchange: Exchange,
    mechanism: 'local' | 'migrate',
  ) {
    this.#ports = ports;
    this.#host = host;
    this.#request = request;
    // In a flow FIN has a place of its own.
    const isLast = (request.close || exchange.close) && host.flow === null;
    const behind = isLast ? 'end' : ports.sharesConnections ? 'anyone' : 'own';
    this.#out = host.wayOut.out(behind, exchange.layout);
    this.#exchange = exchange;
    this.#mechanism = mechanism;
  }

  /** Begins; may finish before it returns. */
  start(): void {
    // A response that is complete has nobody who would tell of progress.
    if (!this.#exchange.complete) this.#exchange.onProgress = () => this.#goOn();
    this.#drive();
  }

  #goOn(): void {
    this.#drive();
    if (!this.#over) this.#host.bodyWanted();
  }

  #drive(): void {
    if (this.#over || this.#paused) return;
    const exchange = this.#exchange;
    if (exchange.elsewhere && this.#mayAskAnother()) return;
    const before = exchange.pump.sentBytes;
    const state = exchange.pump.run(this.#out);
    const sent = exchange.pump.sentBytes - before;
    if (sent > 0 && this.#firstByteUs < 0) this.#firstByteUs = nowUs();
    this.#host.sent(sent, state === 'blocked');
    if (state === 'broken' || (exchange.failed && state !== 'blocked')) return this.#end(this.#brokenBy);
    if (state === 'yield') this.#ports.later.defer(() => this.#drive());
    if (state === 'waiting') exchange.feed?.resume();
    if (state === 'done') this.#end(null);
  }

  get #brokenBy(): string {
    if (this.#exchange.failed) return 'the response broke off';
    return this.#exchange.pump.fileChanged ? 'the file was written to while it was sent' : CLIENT_GONE;
  }

  /** The upstream here has failed the request. False: its failure is the answer. */
  #mayAskAnother(): boolean {
    const { self } = this.#ports;
    if (this.#exchange.pump.sentBytes > 0 || !this.#host.mayAskWithout(self)) return false;
    this.cancel();
    this.#host.again(self, 'upstream failed');
    return true;
  }

  #end(reason: string | null): void {
    this.#over = true;
    const { status, bodyBytes, close, pump, cache } = this.#exchange;
    this.#exchange.end();
    if (reason !== null) return this.#host.broken(reason);
    const { startUs } = this.#request;
    this.#ports.count.add('served_bytes', pump.sentBytes);
    this.#host.finished({
      node: this.#ports.self,
      mechanism: this.#mechanism,
      status,
      bytes: pump.sentBytes,
      bodyBytes,
      close,
      firstByteUs: this.#firstByteUs < 0 ? -1 : this.#firstByteUs - startUs,
      handoffUs: -1,
      cache,
    });
  }

  body(bytes: Buffer, last: boolean): void {
    // Files take no request body, and an upstream that has answered wants no more of it.
    this.#exchange.feed?.body(bytes, last);
  }

  get wantsBody(): boolean {
    return this.#exchange.feed?.wantsBody ?? true;
  }

  writable(): void {
    this.#drive();
    if (!this.#over) this.#exchange.feed?.resume();
  }

  get soFar(): SoFar {
    const bytes = (this.#request.continuation?.offset ?? 0) + this.#exchange.pump.sentBytes;
    const { status } = this.#exchange;
    return { node: this.#ports.self, mechanism: this.#mechanism, status, bytes };
  }

  get progress(): Continuation | null {
    const identity = this.#exchange.identity();
    if (identity === null) return null;
    const offset = (this.#request.continuation?.offset ?? 0) + this.#exchange.pump.sentBytes;
    const { headBytes, lengthBytes, validator } = identity;
    return offset < headBytes ? null : { headBytes, lengthBytes, validator, offset };
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#drive();
  }

  cancel(): void {
    this.#over = true;
    this.#exchange.end();
  }
}
