/** The estimates block of SETUP: what mechanism auto took a request to cost by each row, for who is told of it. */
import { putU16 } from './wire.ts';

/** Microseconds of processor time; null: the row is not to be had for the request. */
export interface RowEstimates {
  readonly relay: number | null;
  readonly anchor: number | null;
  readonly clone: number | null;
}

/*
 * | bytes | field  | value |
 * |-------|--------|-------|
 * | 2     | relay  | microseconds, 65534 for more; 65535: not to be had |
 * | 2     | anchor | likewise |
 * | 2     | clone  | likewise |
 */
export const ESTIMATES_BYTES = 6;
const NOT_TO_BE_HAD = 0xffff;
export const MOST_ESTIMATED_US = NOT_TO_BE_HAD - 1;

export function writeEstimates({ relay, anchor, clone }: RowEstimates, into: Buffer, start: number): number {
  return putU16(into, putU16(into, putU16(into, start, code(relay)), code(anchor)), code(clone));
}

const code = (us: number | null): number => (us === null ? NOT_TO_BE_HAD : Math.min(us, MOST_ESTIMATED_US));

export function readEstimates(bytes: Buffer, at: number): RowEstimates {
  const estimate = (offset: number): number | null => {
    const us = bytes.readUInt16BE(at + offset);
    return us === NOT_TO_BE_HAD ? null : us;
  };
  return { relay: estimate(0), anchor: estimate(2), clone: estimate(4) };
}
