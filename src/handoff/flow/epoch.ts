/** The numbers of handoffs on a flow. */
import { WATCHED_RESET } from '../../kernel/router/layout.ts';

/** Handoffs of a flow are counted from 1; the number after `epoch`. */
export function nextEpoch(epoch: number): number {
  return (epoch + 1) % WATCHED_RESET || 1;
}
