/** What is counted and reported of requests, by their anchor: answered, cut off, or refused. */

import type { ClusterConfig } from '../base/config/config.ts';
import type { Counters, EngineCounter } from '../base/counters.ts';
import { nowUs } from '../base/time.ts';
import { FirstBytes } from '../cluster/first-bytes.ts';
import type { DeliveryResult, SoFar } from '../handoff/request/delivery.ts';
import type { Answered } from '../handoff/target/relayed-request.ts';
import type { Boosted } from '../handoff/target/relayed-requests.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { CacheResult } from '../serve/exchange.ts';
import type { Request } from '../serve/request.ts';
import { type AccessBatch, AccessBatches } from './access-batch.ts';
import { type About, type AccessRecord, accessLine, moreMembers } from './access-line.ts';
import type { TlsFacts } from './channel.ts';

/** With the access log off, one request in so many is reported, for the histograms. */
const SAMPLE_EVERY = 64;
const UNKNOWN = -1;
const NOT_CONTINUED = { offset: 0, headBytes: 0 };
/** The counter of requests of each mechanism. */
const REQUESTS = {
  local: 'requests_local',
  relay: 'requests_relay',
  anchor: 'requests_anchor',
  clone: 'requests_clone',
  split: 'requests_split',
  migrate: 'requests_migrate',
  boost: 'requests_boost',
} as const satisfies Record<DeliveryResult['mechanism'], EngineCounter>;

/** A client, as its requests are reported. */
export interface Described {
  /** Address and port. */
  readonly text: string;
  /** Null: in the clear. */
  readonly tls: TlsFacts | null;
}

/** A request, and where it came from. */
export interface Reported {
  readonly client: Described;
  readonly request: Request;
  /** Name of its site. */
  readonly site: string | null;
  /** The response began on another node, or on another connection; when, is not known. */
  readonly arrived: boolean;
  /** The time of day. */
  readonly wallMs: number;
}

export class AccessRecords {
  readonly #config: ClusterConfig;
  readonly #anchor: string;
  readonly #counters: Counters;
  readonly #batches: AccessBatches;
  readonly #self: number;
  /** Times to first byte of what this node answers; null: no booster takes its clients, so nobody asks. */
  readonly #firstBytes: FirstBytes | null;
  #sampled = 0;

  constructor(
    config: ClusterConfig,
    anchor: string,
    counters: Counters,
    post: (message: { readonly type: 'access'; readonly batch: AccessBatch }) => void,
  ) {
    this.#config = config;
    this.#anchor = anchor;
    this.#counters = counters;
    this.#self = config.nodes.findIndex((node) => node.name === anchor);
    this.#firstBytes = config.nodes[this.#self].boost.boosters.length > 0 ? new FirstBytes() : null;
    this.#batches = new AccessBatches((batch) => post({ type: 'access', batch }));
  }

  #countStatus(status: number): void {
    this.#counters.add('requests');
    if (status < 300) this.#counters.add('responses_2xx');
    else if (status < 400) this.#counters.add('responses_3xx');
    else this.#counters.add(status < 500 ? 'responses_4xx' : 'responses_5xx');
  }

  /** An answer of this node began so long after the request had come; -1: it is not known. */
  #began(firstByteUs: number): void {
    if (firstByteUs >= 0) this.#firstBytes?.add(nowUs() / 1000, firstByteUs / 1000);
  }

  /** How long half of the newest requests have waited for their first byte. */
  get firstByteMs(): number {
    return this.#firstBytes?.medianMs(nowUs() / 1000) ?? 0;
  }

  get #isLogged(): boolean {
    return this.#config.observe.accessLog !== null;
  }

  /** A request was answered. */
  answered(reported: Reported, result: DeliveryResult): void {
    const { mechanism, status } = result;
    this.#countStatus(status);
    this.#counters.add(REQUESTS[mechanism]);
    const { request } = reported;
    const { offset, headBytes } = request.continuation ?? NOT_CONTINUED;
    const bytes = result.bytes + offset;
    this.#counters.add('response_bytes', bytes);
    // Of a response that another node had begun, first byte and handoff were before this node had a part in it.
    const continued = request.continuation !== null;
    const handoffUs = continued ? UNKNOWN : result.handoffUs;
    const firstByteUs = continued ? UNKNOWN : result.firstByteUs;
    if (result.node === this.#self) this.#began(firstByteUs);
    if (this.#isLogged || ++this.#sampled % SAMPLE_EVERY === 0)
      this.#batches.addTiming(mechanism, handoffUs, firstByteUs);
    if (!this.#isLogged) return;
    this.#log(
      reported,
      {
        status,
        bytes,
        bodyBytes: result.bodyBytes + offset - headBytes,
        node: this.#config.nodes[result.node].name,
        mechanism,
        firstByteUs,
        handoffUs,
        messages: result.messages?.count ?? UNKNOWN,
        messageBytes: result.messages?.bytes ?? UNKNOWN,
        complete: true,
      },
      result.cache,
    );
  }

  /** The connection has ended in the middle of it, or (`complete`) what is known of it is only that it arrived. */
  cut(reported: Reported, soFar: SoFar | null, complete: boolean): void {
    const { offset } = reported.request.continuation ?? NOT_CONTINUED;
    const { mechanism, status, bytes } = soFar ?? { mechanism: 'local', status: 0, bytes: offset };
    const node = soFar === null ? this.#anchor : this.#config.nodes[soFar.node].name;
    this.#counters.add('response_bytes', bytes);
    if (!this.#isLogged) return;
    this.#log(reported, {
      status: status === 0 ? UNKNOWN : status,
      bytes,
      bodyBytes: UNKNOWN,
      node,
      mechanism,
      firstByteUs: UNKNOWN,
      handoffUs: UNKNOWN,
      messages: UNKNOWN,
      messageBytes: UNKNOWN,
      complete,
    });
  }

  #log(
    { client: { text: client, tls }, request, site, arrived, wallMs }: Reported,
    record: Omit<
      AccessRecord,
      'timeMs' | 'client' | 'method' | 'target' | 'host' | 'anchor' | 'durationUs' | 'continued'
    >,
    cache: CacheResult | null = null,
  ): void {
    const { head, startUs } = request;
    const { method, target, host } = head;
    const durationUs = arrived ? UNKNOWN : nowUs() - startUs;
    const continued = request.continuation !== null;
    // Field by field: an object of several that are spread is made by V8's runtime, member by member.
    const line: AccessRecord = {
      timeMs: wallMs,
      client,
      method,
      target,
      host,
      status: record.status,
      bytes: record.bytes,
      bodyBytes: record.bodyBytes,
      anchor: this.#anchor,
      node: record.node,
      mechanism: record.mechanism,
      firstByteUs: record.firstByteUs,
      handoffUs: record.handoffUs,
      messages: record.messages,
      messageBytes: record.messageBytes,
      durationUs,
      complete: record.complete,
      continued,
    };
    this.#write(line, head, { site, tls, cache });
  }

  /** A booster's client was answered: for this node's log and counts; the booster has its own. `client`: its address. */
  boosted(
    client: string,
    { booster, head }: Boosted,
    site: string | null,
    answered: Answered,
    wallMs: number,
  ): void {
    const { status, complete, cache } = answered;
    this.#counters.add('boosted_requests');
    this.#began(answered.firstByteUs);
    if (!this.#isLogged) return;
    const record: AccessRecord = {
      timeMs: wallMs,
      client,
      method: head.method,
      target: head.target,
      host: head.host,
      status: status === 0 ? UNKNOWN : status,
      bytes: answered.bytes,
      bodyBytes: answered.bodyBytes,
      anchor: this.#config.nodes[booster].name,
      node: this.#anchor,
      mechanism: 'boost',
      firstByteUs: answered.firstByteUs,
      handoffUs: UNKNOWN,
      messages: UNKNOWN,
      messageBytes: UNKNOWN,
      durationUs: answered.durationUs,
      complete,
      continued: false,
    };
    this.#write(record, head, { site, tls: null, cache });
  }

  /** A request was refused, after which its connection ends. `head`: null when it could not be read. */
  refused(
    { text: client, tls }: Described,
    head: RequestHead | null,
    status: number,
    bytes: number,
    wallMs: number,
  ): void {
    this.#countStatus(status);
    if (!this.#isLogged) return;
    const record: AccessRecord = {
      timeMs: wallMs,
      client,
      method: head?.method ?? null,
      target: head?.target ?? null,
      host: head?.host ?? null,
      status,
      bytes,
      bodyBytes: UNKNOWN,
      anchor: this.#anchor,
      node: this.#anchor,
      mechanism: 'local',
      firstByteUs: UNKNOWN,
      handoffUs: UNKNOWN,
      messages: UNKNOWN,
      messageBytes: UNKNOWN,
      durationUs: UNKNOWN,
      complete: true,
      continued: false,
    };
    this.#write(record, head, { site: null, tls, cache: null });
  }

  #write(record: AccessRecord, head: RequestHead | null, about: About): void {
    const { accessFields } = this.#config.observe;
    this.#batches.addLine(accessLine(record, moreMembers(accessFields, head, about)));
  }

  /** Hands over what there is. */
  flush(): void {
    this.#batches.flush();
  }
}
