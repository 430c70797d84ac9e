/**
 * Clone's option `keep`, at the target: a half-pipe whose response the client has acknowledged waits for the next
 * request, which the anchor's router sends here as well (rule follow). It takes it as if SETUP had come with the last
 * copy, when it is sure that the anchor, too, finds it to be this node's:
 *
 *   waiting --whole head, this node's--> taken: SETUP_OK, response --acknowledged--> waiting
 *     |--whole head, this node's, but cannot--> SETUP_REJECT (not kept)        `--SETUP--> as ever
 *     `--another's head, a gap, too late--> waits for SETUP
 */

import { distance, hasRoom, lastRange } from '../../kernel/router/ranges.ts';
import type { FollowedBytes } from '../../kernel/router/router-engine.ts';
import { SetupMechanism } from '../../protocol/backplane/frames.ts';
import { HeadError } from '../../protocol/http/request.ts';
import { isStale } from '../flow/lease.ts';
import type { NextPorts } from './half-pipe-ports.ts';
import { HalfPipeResponse } from './half-pipe-response.ts';
import type { HalfPipeSocket } from './half-pipe-socket.ts';
import { NextRequestCopy } from './next-request-copy.ts';
import { beginNext, endResponse } from './target-rules.ts';

const NOTHING = Buffer.alloc(0);

export class TargetStandby {
  readonly #ports: NextPorts;
  readonly #socket: HalfPipeSocket;
  /** What the anchor's choice goes by, when the next request may be taken; null: it may not. */
  #digest: number | null = null;
  /** The next request, as far as it is here; null: it is not waited for. */
  #next: NextRequestCopy | null = null;
  /** How many epochs have begun without SETUP since the last one that came, and the newest of them. */
  #taken = 0;
  #takenEpoch = 0;

  constructor(ports: NextPorts, socket: HalfPipeSocket) {
    this.#ports = ports;
    this.#socket = socket;
  }

  /** The half-pipe stays for the next request. */
  get stays(): boolean {
    return this.#digest !== null;
  }

  /**
   * Whether this epoch is in progress, or was, without SETUP. Not only the newest: an anchor that hears late of one asks
   * for it, while its client has had that response and asked for more.
   */
  hasTaken(epoch: number): boolean {
    const before = distance(epoch, this.#takenEpoch);
    return before >= 0 && before < this.#taken;
  }

  /** A response begins by SETUP. `digest`: null when the next request is not to be taken; else it begins at `start`. */
  begin(digest: number | null, start: number): void {
    this.#taken = 0;
    this.#digest = digest;
    this.#next = digest === null ? null : new NextRequestCopy(start);
  }

  /** Whatever becomes of the next request, it is taken by SETUP. */
  forget(): void {
    this.#next = null;
  }

  /**
   * What the client sends next, sent on by the anchor's router at `sentMs` of the own clock. Returns the response when the
   * request is whole and taken: its rules are in force, and the anchor is to be told. `cannot`: it is this node's, by all
   * that is known here, but not to be taken. Null: it is not whole, or not this node's, or SETUP will come.
   */
  hear(
    { sequence, bytes }: FollowedBytes,
    sentMs: number,
    mayTake: boolean,
  ): HalfPipeResponse | 'cannot' | null {
    const next = this.#next;
    if (next === null) return null;
    const { sites, repeatableChoices, self } = this.#ports;
    // A request may be as late as a SETUP: after that the anchor may have given it to another node.
    const isLate = isStale(this.#ports.clock.exactMs() - sentMs);
    const head =
      isLate || !next.push(sequence, bytes) ? undefined : sites.heads.parse(next.bytes, 0, next.bytes.length);
    if (head === null) return null;
    this.#next = null;
    if (head === undefined || head instanceof HeadError) return null;
    const site = sites.find(head.host);
    const choice = site === null ? null : repeatableChoices.of(site);
    if (choice?.nodeFor(head) !== self) return null;
    const isSure = choice.digest === this.#digest && site?.content != null;
    const isAll = head.headLength === next.bytes.length;
    return (mayTake && isSure && isAll ? this.#take(next, sentMs) : null) ?? 'cannot';
  }

  /** Goes on with the next request, from behind the response before it. */
  #take(next: NextRequestCopy, sentMs: number): HalfPipeResponse | null {
    const { rules } = this.#socket;
    const asked = { head: next.bytes, body: NOTHING, bodyFollows: false, close: false, continuation: null };
    const exchange = this.#ports.isStopping() ? null : this.#ports.sites.serve(asked, 'clone', this.#socket);
    if (exchange === null || typeof exchange === 'number') return null;
    const { end } = lastRange(rules)!;
    this.#socket.trim();
    const response = new HalfPipeResponse(this.#socket, SetupMechanism.CLONE, { exchange, seal: null });
    if (!response.implicit || exchange.close || !hasRoom(rules)) {
      exchange.end();
      return null;
    }
    beginNext(rules, end, sentMs);
    endResponse(rules, (end + exchange.lengthBytes) >>> 0, true);
    this.#socket.write();
    this.#taken++;
    this.#takenEpoch = rules.epoch;
    this.#next = new NextRequestCopy((next.start + next.bytes.length) >>> 0);
    return response;
  }
}
