/** How many connections of a listener wait to be accepted. */
import { allocate } from './memory.ts';
import { getOptionBytes, IPPROTO_TCP, TCP_INFO } from './socket.ts';

/** struct tcp_info of linux/tcp.h up to tcpi_sacked; for a listener tcpi_unacked is its accept queue. */
const TCP_INFO_BYTES = 32;
const UNACKED = 24;

const info = allocate(TCP_INFO_BYTES);

/** Connections that are complete and not accepted yet. Throws SystemError. */
export function acceptQueueOf(listener: number): number {
  getOptionBytes(listener, IPPROTO_TCP, TCP_INFO, info.address, TCP_INFO_BYTES);
  return info.bytes.readUInt32LE(UNACKED);
}
