/** Field lines by which responses say how they came to be, where the configuration wants that. */
import type { ObserveConfig } from '../base/config/config.ts';
import { Networks } from '../base/networks.ts';
import type { RowEstimates } from '../protocol/backplane/frame-estimates.ts';
import type { Client } from './request.ts';

/** `client`: whose response it is; null: nobody's in particular. */
export type IsTold = (client: Client | null) => boolean;

/** Which clients get Server-Timing. */
export function isToldOf(serverTiming: ObserveConfig['serverTiming']): IsTold {
  if (typeof serverTiming === 'boolean') return () => serverTiming;
  const networks = new Networks(serverTiming);
  return (client) => {
    const address = client?.clientAddress ?? null;
    return address !== null && networks.has(address);
  };
}

/** `estimates`: mechanism auto's, where it has chosen the row. */
export type ExtraFields = (
  mechanism: string,
  durationUs: number,
  client: Client | null,
  estimates?: RowEstimates | null,
) => string;

/** `node`: this one's name. */
export function extraFieldsOf(servedBy: boolean, node: string, isTold: IsTold): ExtraFields {
  const by = servedBy ? `X-Served-By: ${node}\r\n` : '';
  return (mechanism, durationUs, client, estimates = null) => {
    if (!isTold(client)) return by;
    return `${by}Server-Timing: handoff;desc=${mechanism};dur=${inMs(durationUs)}${listed(estimates)}\r\n`;
  };
}

/** A row that cannot be had is left out. */
function listed(estimates: RowEstimates | null): string {
  if (estimates === null) return '';
  const { relay, anchor, clone } = estimates;
  return `${estimated('relay', relay)}${estimated('anchor', anchor)}${estimated('clone', clone)}`;
}

const estimated = (row: keyof RowEstimates, us: number | null): string =>
  us === null ? '' : `, auto-${row};dur=${inMs(us)}`;

const inMs = (us: number): string => (us / 1000).toFixed(3);
