/** What is counted and reported of answered requests, by their anchor. */

import { formatEndpoint } from '../base/address.ts';
import type { ClusterConfig } from '../base/config/config.ts';
import type { Counters } from '../base/counters.ts';
import { nowUs } from '../base/time.ts';
import type { Outcome } from '../handoff/request/handling.ts';
import { unlessSocketDied } from '../kernel/linux/errors.ts';
import { remoteEndpoint } from '../kernel/linux/socket.ts';
import type { Request } from '../serve/request.ts';
import type { Connection } from './connection.ts';

/** One answered request, as logged by its anchor. Times are microseconds; -1 when it does not apply. */
export interface AccessRecord {
  /** Wall clock, milliseconds since the epoch. */
  readonly timeMs: number;
  readonly client: string;
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly status: number;
  /** Response bytes, head included, and body alone. */
  readonly bytes: number;
  readonly bodyBytes: number;
  readonly anchor: string;
  /** The node that answered. */
  readonly node: string;
  readonly mechanism: string;
  /** Request read to response's first byte handed to the kernel. */
  readonly firstByteUs: number;
  /** Request read to SETUP answered. */
  readonly handoffUs: number;
  /** Frames about it between the nodes, and their bytes; -1 where they are not counted. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Request read to the whole response handed to the kernel. */
  readonly durationUs: number;
}

/** With the access log off, one request in so many is reported, for the histograms. */
const SAMPLE_EVERY = 64;
/** Until the main thread takes them; others are counted only. */
const MAX_RECORDS = 20_000;
const NOT_CONTINUED = { offset: 0, headBytes: 0 };

export class AccessRecords {
  readonly #config: ClusterConfig;
  readonly #anchor: string;
  readonly #counters: Counters;
  #records: AccessRecord[] = [];
  #sampled = 0;

  constructor(config: ClusterConfig, anchor: string, counters: Counters) {
    this.#config = config;
    this.#anchor = anchor;
    this.#counters = counters;
  }

  countStatus(status: number): void {
    this.#counters.add('requests');
    if (status < 300) this.#counters.add('responses_2xx');
    else if (status < 400) this.#counters.add('responses_3xx');
    else this.#counters.add(status < 500 ? 'responses_4xx' : 'responses_5xx');
  }

  /** A request was answered. `wallMs`: the time of day. */
  add(connection: Connection, request: Request, outcome: Outcome, wallMs: number): void {
    this.countStatus(outcome.status);
    this.#counters.add(`requests_${outcome.mechanism}`);
    const { offset, headBytes } = request.continuation ?? NOT_CONTINUED;
    this.#counters.add('response_bytes', outcome.bytes + offset);
    const all = this.#config.observe.accessLog !== null;
    if ((!all && ++this.#sampled % SAMPLE_EVERY !== 0) || this.#records.length >= MAX_RECORDS) return;
    this.#records.push({
      timeMs: wallMs,
      client: connection.flow?.clientText ?? clientText(connection.fd),
      method: request.head.method,
      target: request.head.target,
      host: request.head.host,
      status: outcome.status,
      bytes: outcome.bytes + offset,
      bodyBytes: outcome.bodyBytes + offset - headBytes,
      anchor: this.#anchor,
      node: this.#config.nodes[outcome.node].name,
      mechanism: outcome.mechanism,
      firstByteUs: outcome.firstByteUs,
      handoffUs: outcome.handoffUs,
      messages: outcome.messages?.count ?? -1,
      messageBytes: outcome.messages?.bytes ?? -1,
      durationUs: nowUs() - request.startUs,
    });
  }

  /** Gives away what there is. */
  take(): AccessRecord[] {
    const records = this.#records;
    if (records.length > 0) this.#records = [];
    return records;
  }
}

/** The client's address as text; `-` when it has just reset the connection. */
function clientText(fd: number): string {
  try {
    return formatEndpoint(remoteEndpoint(fd));
  } catch (error) {
    return unlessSocketDied(error, '-');
  }
}
