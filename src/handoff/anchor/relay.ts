/**
 * Mechanism relay (the papers' back-end forwarding), at the anchor: the target's response comes over the backplane
 * and goes out on the anchor's own socket. Slow for the anchor, possible for everything. Likewise mechanism boost, at
 * the booster, whose target is the origin.
 */

import assert from 'node:assert';
import type { Count } from '../../base/counters.ts';
import { nowUs } from '../../base/time.ts';
import type { Places } from '../../kernel/loop/deadlines.ts';
import type { Later } from '../../kernel/loop/ports.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  RejectReason,
  type RelayedEnd,
  type SetupMechanism,
} from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import {
  REQUEST_BODY,
  RESPONSE,
  STREAM_PIECE_BYTES,
  StreamInput,
  StreamOutput,
} from '../../protocol/backplane/stream.ts';
import type { StreamSource, Streams } from '../../protocol/backplane/streams.ts';
import type { Continuation } from '../../protocol/http/continuation.ts';
import type { Layout } from '../../protocol/tls/record-layout.ts';
import { type ByteSink, Pump } from '../../serve/byte-sink.ts';
import type { Request } from '../../serve/request.ts';
import {
  type AgainReason,
  CLIENT_GONE,
  type Delivery,
  type DeliveryOwner,
  type SoFar,
} from '../request/delivery.ts';
import type { Handoffs } from './handoffs.ts';

export interface RelayPorts {
  readonly count: Count;
  readonly later: Later;
  readonly handoffs: Handoffs;
  readonly streams: Streams;
  /** Every response ends its segment: the connection's next one may be another node's. */
  readonly sharesConnections: boolean;
}

/** Which of the two mechanisms carries the response, relay or boost. */
export interface RelayForm {
  readonly name: 'relay' | 'boost';
  readonly mechanism: SetupMechanism;
}

/** A request, and the node that is to answer it. */
export interface RelayGiven {
  readonly ports: RelayPorts;
  readonly host: DeliveryOwner;
  readonly request: Request;
  readonly node: number;
  readonly link: Link;
  readonly form: RelayForm;
}

const ZERO = 48;
const NOTHING = Buffer.alloc(0);

/** The records of what is left of a response; null: its length is not known. */
function layoutOf(continuation: Continuation | null): Layout | null {
  return continuation && { headBytes: 0, lengthBytes: continuation.lengthBytes - continuation.offset };
}

/** The status in the first bytes of a response, `HTTP/1.1 200`; 0: it is not there. */
function statusIn(bytes: Buffer): number {
  const status = (bytes[9] - ZERO) * 100 + (bytes[10] - ZERO) * 10 + (bytes[11] - ZERO);
  return status >= 100 && status <= 999 ? status : 0;
}

/** That a piece was the last of its response may be known only when it is out (DATA_DONE): each ends its segment. */
class PieceSink implements ByteSink {
  readonly #socket: ByteSink;

  constructor(socket: ByteSink) {
    this.#socket = socket;
  }

  send(bytes: Buffer, from: number): number {
    return this.#socket.send(bytes, from, false, true);
  }

  sendFile(): number {
    throw new Error('what is relayed is in memory');
  }

  flush(): number {
    return this.#socket.flush();
  }
}

export class RelayDelivery implements Delivery, Conversation, StreamSource {
  readonly places: Places = [];
  readonly node: number;
  readonly #ports: RelayPorts;
  readonly #host: DeliveryOwner;
  readonly #request: Request;
  readonly link: Link;
  readonly #form: RelayForm;
  readonly #id: number;
  readonly #sentAtMs: number;
  readonly #out: ByteSink;
  readonly #pump = new Pump([], false);
  /** The request's body, where it follows: to the target. */
  readonly output = new StreamOutput(REQUEST_BODY);
  /** The response, from the target; it is used when it is out. */
  readonly #response = new StreamInput(RESPONSE);
  /** Some of the request body has gone to the target, and is not here any more. */
  #bodyGone = false;
  /** What had come of the body when the link had no room for it. */
  #unsent: { readonly bytes: Buffer; readonly last: boolean } | null = null;
  #done: RelayedEnd | null = null;
  #status = 0;
  #handoffUs = -1;
  #firstByteUs = -1;
  #over = false;

  /** Null when SETUP could not be sent. */
  static start(given: RelayGiven): RelayDelivery | null {
    const { ports, request, link, form } = given;
    const delivery = new RelayDelivery(given);
    const sentAtMs = delivery.#sentAtMs;
    const sent = link.send({
      type: FrameType.SETUP,
      request: delivery.#id,
      epoch: 1,
      mechanism: form.mechanism,
      http10: request.head.minor === 0,
      close: request.close,
      bodyFollows: request.bodyFollows,
      sentAtMs: sentAtMs >>> 0,
      halfPipe: null,
      client: request.client.clientAddress,
      secure: request.client.isSecure,
      continuation: request.continuation,
      keep: null,
      seal: null,
      estimates: request.estimates,
      site: request.site,
      head: request.headBytes,
      body: request.body,
    });
    if (!sent) {
      link.closeConversation(delivery.#id);
      return null;
    }
    ports.count.add('setups_sent');
    ports.handoffs.asked(delivery, sentAtMs);
    return delivery;
  }

  private constructor({ ports, host, request, node, link, form }: RelayGiven) {
    this.#ports = ports;
    this.#host = host;
    this.#request = request;
    this.link = link;
    this.#form = form;
    this.node = node;
    this.#id = link.openConversation(this);
    this.#sentAtMs = ports.handoffs.clock.exactMs();
    const { wayOut } = host;
    const layout = layoutOf(request.continuation);
    const out = wayOut.out(ports.sharesConnections ? 'anyone' : 'own', layout);
    // Over TLS one of known length has its records, the last of which ends its segment, where they belong.
    this.#out = wayOut.half === null || layout === null ? new PieceSink(out) : out;
  }

  frame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.SETUP_OK:
        return this.#accepted();
      case FrameType.SETUP_REJECT:
        if (this.#handoffUs >= 0) return this.link.protocolError('SETUP_REJECT after SETUP_OK');
        if (frame.reason === RejectReason.PENDING && this.#request.continuation === null)
          return this.link.protocolError('a response that has not begun cannot be pending');
        this.#ports.count.add('handoffs_rejected');
        if (frame.reason !== RejectReason.PENDING) return this.#failed('refused');
        this.#leave();
        return this.#host.later();
      case FrameType.RELAY_DATA:
        if (!this.#response.arrived(frame.bytes.length) || this.#done !== null)
          return this.link.protocolError('more of a relayed response than was asked for');
        this.#accepted();
        if (this.#status === 0) this.#status = statusIn(frame.bytes);
        if (frame.end !== null) this.#ends(frame.end);
        return this.#drive(frame.bytes);
      case FrameType.RELAY_CREDIT:
        if (!this.output.granted(frame))
          return this.link.protocolError('more of a request body asked for than was sent');
        return this.#host.bodyWanted();
      case FrameType.DATA_DONE:
        if (this.#done !== null) return this.link.protocolError('DATA_DONE twice');
        this.#accepted();
        this.#ends({ status: frame.status, bodyBytes: frame.bodyBytes, close: frame.close });
        return this.#drive();
      case FrameType.ABORT:
        return this.#failed(frame.reason === AbortReason.UPSTREAM_FAILED ? 'upstream failed' : 'lost');
      default:
        return;
    }
  }

  linkDown(): void {
    if (this.#done !== null) return;
    this.#ports.count.add('handoffs_lost');
    this.#failed('lost');
  }

  timedOut(): void {
    const isAnsweredWithout = this.#host.answeredWithout(this.node);
    if (this.#ports.handoffs.waitsOn(this, isAnsweredWithout, this.#sentAtMs)) return;
    this.#ports.count.add('handoffs_timed_out');
    this.link.send({ type: FrameType.ABORT, request: this.#id, epoch: 1, reason: AbortReason.SUPERSEDED });
    this.#failed('lost');
  }

  #accepted(): void {
    if (this.#handoffUs >= 0) return;
    this.#handoffUs = nowUs() - this.#request.startUs;
    this.#ports.handoffs.answered(this);
    if (this.#request.bodyFollows) this.#host.bodyWanted();
  }

  #ends(end: RelayedEnd): void {
    this.#done = end;
    this.#pump.finish();
  }

  /** `bytes`: that have just come, and are gone afterwards. */
  #drive(bytes: Buffer | null = null): void {
    if (this.#over) return;
    const before = this.#pump.sentBytes;
    const state = bytes === null ? this.#pump.run(this.#out) : this.#pump.pass(bytes, this.#out);
    const sent = this.#pump.sentBytes - before;
    this.#host.sent(sent, state === 'blocked');
    if (sent > 0) {
      if (this.#firstByteUs < 0) this.#firstByteUs = nowUs();
      this.#ask(sent);
    }
    if (state === 'broken') {
      this.cancel();
      return this.#host.broken(CLIENT_GONE);
    }
    if (state === 'yield') this.#ports.later.defer(() => this.#drive());
    if (state === 'done') this.#finish();
  }

  /** Asks for as much as went out. */
  #ask(sent: number): void {
    this.#response.used(sent);
    const credit = this.#done === null ? this.#response.credit(this.#id) : null;
    if (credit !== null) this.link.send(credit);
  }

  #finish(): void {
    this.#leave();
    const { startUs } = this.#request;
    assert(this.#done !== null, 'its end has come');
    const { status, bodyBytes, close } = this.#done;
    this.#host.finished({
      node: this.node,
      mechanism: this.#form.name,
      status,
      bytes: this.#pump.sentBytes,
      bodyBytes,
      close,
      firstByteUs: this.#firstByteUs < 0 ? -1 : this.#firstByteUs - startUs,
      handoffUs: this.#handoffUs,
    });
  }

  #leave(): void {
    this.#over = true;
    this.#ports.handoffs.answered(this);
    this.#ports.streams.leaves(this);
    this.link.closeConversation(this.#id);
  }

  #failed(why: AgainReason): void {
    if (this.#over) return;
    this.#leave();
    // A body that the client was to be invited to send, and was not, may go to another node as well as to this one.
    if (this.#pump.sentBytes > 0 || this.#bodyGone) this.#host.broken('the target failed');
    else this.#host.again(this.node, why);
  }

  body(bytes: Buffer, last: boolean): void {
    if (this.#over) return;
    this.#bodyGone = true;
    const unsent = this.#unsent === null ? this.#send(bytes, last) : bytes;
    if (unsent === null) return;
    if (!this.link.up) return this.#failed('lost');
    // What had come when the body began is here, however many bodies begin on this link at once.
    const before = this.#unsent?.bytes ?? NOTHING;
    this.#unsent = { bytes: Buffer.concat([before, unsent]), last };
    this.#ports.streams.waits(this);
  }

  /** Sends bytes of the body in pieces. Returns those that the link has no room for; null: all are on their way. */
  #send(bytes: Buffer, last: boolean): Buffer | null {
    for (let at = 0; at < bytes.length || (last && at === 0); at += STREAM_PIECE_BYTES) {
      const end = at + STREAM_PIECE_BYTES;
      const frame = this.output.frame(this.#id, bytes.subarray(at, end), last && end >= bytes.length);
      if (!this.link.send(frame)) return bytes.subarray(at);
      this.output.sent(frame);
    }
    return null;
  }

  /** Not before the target has accepted the request: one that refuses it, or is lost, has had nothing of its body. */
  get wantsBody(): boolean {
    return this.#handoffUs >= 0 && this.#unsent === null && this.#ports.streams.asks(this);
  }

  goOn(): void {
    const unsent = this.#unsent;
    this.#unsent = null;
    if (unsent !== null) this.body(unsent.bytes, unsent.last);
    if (this.#unsent === null) this.#host.bodyWanted();
  }

  get soFar(): SoFar {
    const bytes = (this.#request.continuation?.offset ?? 0) + this.#pump.sentBytes;
    return { node: this.node, mechanism: this.#form.name, status: this.#status, bytes };
  }

  writable(): void {
    this.#drive();
  }

  cancel(): void {
    if (this.#over) return;
    this.link.send({ type: FrameType.ABORT, request: this.#id, epoch: 1, reason: AbortReason.CLIENT_GONE });
    this.#leave();
  }
}
