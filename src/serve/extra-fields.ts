/** Field lines by which responses say how they came to be, where the configuration wants that. */
import type { ObserveConfig } from '../base/config/config.ts';
import { Networks } from '../base/networks.ts';
import type { Client } from './request.ts';

/** `client`: whose response it is; null: nobody's in particular. */
export type ExtraFields = (mechanism: string, durationUs: number, client: Client | null) => string;

/** `node`: this one's name. */
export function extraFieldsOf(
  observe: Pick<ObserveConfig, 'servedBy' | 'serverTiming'>,
  node: string,
): ExtraFields {
  const { serverTiming } = observe;
  const servedBy = observe.servedBy ? `X-Served-By: ${node}\r\n` : '';
  if (serverTiming === false) return () => servedBy;
  const networks = serverTiming === true ? null : new Networks(serverTiming);
  const isTold = (client: Client | null): boolean => {
    if (networks === null) return true;
    const address = client?.clientAddress ?? null;
    return address !== null && networks.has(address);
  };
  return (mechanism, durationUs, client) => {
    if (!isTold(client)) return servedBy;
    return `${servedBy}Server-Timing: handoff;desc=${mechanism};dur=${(durationUs / 1000).toFixed(3)}\r\n`;
  };
}
