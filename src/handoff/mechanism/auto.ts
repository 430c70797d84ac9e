/**
 * Mechanism auto: which row of the table a request goes by, when the policy has named another node and no row. What is
 * known of the request is gathered here; what the rows cost is estimated in cost.ts, by the prices of prices.ts.
 */
import type { SiteConfig } from '../../base/config/config.ts';
import type { NodeLoad } from '../../cluster/load.ts';
import type { RowEstimates } from '../../protocol/backplane/frame-estimates.ts';
import { parseRanges } from '../../protocol/http/range.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { IsTold } from '../../serve/extra-fields.ts';
import type { Site } from '../../serve/sites.ts';
import { ConnectionRequests } from './connection-requests.ts';
import { cheapest, costOf, objectionTo, overpaidAfter, type Situation, times } from './cost.ts';
import { LearntSizes } from './learnt-sizes.ts';
import type { RequestInProgress } from './mechanism.ts';
import { AUTO_ROWS, type AutoRow, byteTimes, type PriceList, pricesFor } from './prices.ts';

/** `AnchorFlow.lastSender`: the anchor's own socket. */
const OWN = -1;
/**
 * The size that a response of unknown size is taken for: there anchor costs little more than the best row, whatever the
 * size turns out to be.
 */
export const UNKNOWN_BYTES = 64 * 1024;

export interface AutoPorts {
  /** Index of this node. */
  readonly self: number;
  /** Bytes of the file that a request is for, by this node's disk or another's catalogue; null when it is none. */
  sizeOf(site: SiteConfig, head: RequestHead): number | null;
  loadOf(node: number): Pick<NodeLoad, 'cpuPermille'>;
  /** What a KiB costs on this machine that is sealed, passed on and opened, in what a call costs. */
  readonly callsPerKib: number;
}

/** How a size is known. */
export type SizeSource = 'file' | 'learnt' | 'assumed';

/** What a row costs in a situation; `whyNot` when it is not to be had. */
export interface Estimate {
  readonly row: AutoRow;
  readonly us: number | null;
  readonly whyNot: string | null;
}

export interface ExplainedCase {
  /** What connection the request comes on. */
  readonly connection: string;
  readonly row: AutoRow;
  readonly estimates: readonly Estimate[];
}

export interface ExplainedAuto {
  readonly bytes: number;
  readonly known: SizeSource;
  readonly anchorPermille: number;
  readonly targetPermille: number;
  /** How many times as much bytes cost here, beside calls, as where the prices were measured. */
  readonly byteTimes: number;
  readonly cases: readonly ExplainedCase[];
}

export interface AutoStatus {
  /** Requests by the row that was chosen for them. */
  readonly chosen: Readonly<Record<AutoRow, number>>;
  /** Requests of a connection on average, of the newest. */
  readonly connectionRequests: number;
  /** Paths whose responses' size is learnt, and the mean of each site's. */
  readonly learntPaths: number;
  readonly meanBytes: Readonly<Record<string, number>>;
  /** How many times as much bytes cost here, beside calls, as where the prices were measured. */
  readonly byteTimes: number;
}

export class Auto {
  readonly #ports: AutoPorts;
  readonly #isTold: IsTold;
  readonly #sizes = new LearntSizes();
  readonly #requests = new ConnectionRequests();
  readonly #byteTimes: number;
  readonly #prices: PriceList;
  readonly #chosen: Record<AutoRow, number> = { relay: 0, anchor: 0, clone: 0 };

  /** `isTold`: whether a client wants to know what was estimated for its request. */
  constructor(ports: AutoPorts, isTold: IsTold) {
    this.#ports = ports;
    this.#isTold = isTold;
    this.#byteTimes = byteTimes(ports.callsPerKib);
    this.#prices = pricesFor(this.#byteTimes);
  }

  /** The row by which a request goes to `node`, another one. */
  choose(host: RequestInProgress, site: Site, node: number): AutoRow {
    this.#requests.saw(host.standing.answered === 0);
    const situation = this.#situation(host, site, node);
    const row = cheapest(situation);
    host.standing.overpaidUs = overpaidAfter(row, situation);
    this.#chosen[row]++;
    if (this.#isTold(host.request.client)) host.request.estimates = estimatesOf(situation);
    return row;
  }

  #situation(host: RequestInProgress, site: Site, node: number): Situation {
    const { request, standing, flow } = host;
    const { loadOf, self } = this.#ports;
    const offset = request.continuation?.offset ?? 0;
    return {
      bytes: Math.max(0, this.#bytesOf(site.config, request.head) - offset),
      bodyFollows: request.bodyFollows,
      isFirst: standing.answered === 0 && flow === null,
      isLast: request.close,
      requestsLeft: request.close ? 1 : this.#requests.mean,
      hasMore: host.hasMore,
      hasHalfPipe: flow?.hasHalfPipeAt(node) ?? false,
      ownSentLast: (flow?.lastSender ?? OWN) === OWN,
      overpaidUs: standing.overpaidUs,
      anchorTimes: times(loadOf(self).cpuPermille),
      targetTimes: times(loadOf(node).cpuPermille),
      prices: this.#prices,
    };
  }

  #bytesOf(site: SiteConfig, head: RequestHead): number {
    return bodyBytesOf(head, this.#size(site, head) ?? UNKNOWN_BYTES);
  }

  #size(site: SiteConfig, head: RequestHead): number | null {
    return this.#ports.sizeOf(site, head) ?? this.#sizes.of(site.name, head.path);
  }

  /** A response's body had so many bytes: what comes of files is known without. */
  answered(site: Site, head: RequestHead, bodyBytes: number): void {
    if (site.config.mechanism !== 'auto' || site.content !== null) return;
    if (head.method !== 'HEAD' && !head.fields.has('range'))
      this.#sizes.saw(site.config.name, head.path, bodyBytes);
  }

  /** What would be chosen for a request for which the policy has named `node`, on connections of each kind. */
  explain(site: Site, head: RequestHead, node: number): ExplainedAuto {
    const { sizeOf, loadOf, self } = this.#ports;
    const file = sizeOf(site.config, head);
    const known = file !== null ? 'file' : this.#size(site.config, head) !== null ? 'learnt' : 'assumed';
    const bytes = Math.round(this.#bytesOf(site.config, head));
    const anchorPermille = loadOf(self).cpuPermille;
    const targetPermille = loadOf(node).cpuPermille;
    const usual = {
      bytes,
      bodyFollows: false,
      isLast: false,
      requestsLeft: this.#requests.mean,
      hasMore: false,
      overpaidUs: 0,
      anchorTimes: times(anchorPermille),
      targetTimes: times(targetPermille),
      prices: this.#prices,
    };
    const none = { hasHalfPipe: false, ownSentLast: true };
    const cases = [
      explained('new, ends with it', { ...usual, ...none, isFirst: true, isLast: true, requestsLeft: 1 }),
      explained('new, goes on', { ...usual, ...none, isFirst: true }),
      explained('kept, no half-pipe there', { ...usual, ...none, isFirst: false }),
      explained('kept, a half-pipe there', {
        ...usual,
        hasHalfPipe: true,
        ownSentLast: false,
        isFirst: false,
      }),
    ];
    return { bytes, known, anchorPermille, targetPermille, byteTimes: this.#byteTimes, cases };
  }

  status(): AutoStatus {
    return {
      chosen: { ...this.#chosen },
      connectionRequests: Math.round(10 * this.#requests.mean) / 10,
      learntPaths: this.#sizes.size,
      meanBytes: this.#sizes.status(),
      byteTimes: Math.round(100 * this.#byteTimes) / 100,
    };
  }
}

/** What a request asks for of a document of that size. */
function bodyBytesOf(head: RequestHead, size: number): number {
  if (head.plain) return size;
  if (head.method === 'HEAD') return 0;
  const field = head.fields.get('range');
  const ranges = field === undefined ? null : parseRanges(field, size);
  return ranges === null ? size : ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

function estimatesOf(situation: Situation): RowEstimates {
  const us = (row: AutoRow): number | null =>
    objectionTo(row, situation) === null ? Math.round(costOf(row, situation)) : null;
  return { relay: us('relay'), anchor: us('anchor'), clone: us('clone') };
}

function explained(connection: string, situation: Situation): ExplainedCase {
  const all = estimatesOf(situation);
  const estimates = AUTO_ROWS.map((row) => ({ row, us: all[row], whyNot: objectionTo(row, situation) }));
  return { connection, row: cheapest(situation), estimates };
}
