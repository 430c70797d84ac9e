/** Where the responses of a connection go: to its client's socket, or into TLS on it. */
import type { Layout } from '../../protocol/tls/record-layout.ts';
import type { WriteHalf } from '../../protocol/tls/write-half.ts';
import type { Behind, ByteSink } from '../../serve/byte-sink.ts';

export interface WayOut {
  /** What a target is lent; null: the connection is in the clear. */
  readonly half: WriteHalf | null;
  /** Whether that node may send now: nothing waits here, and it may have the key. */
  mayLend(node: number): boolean;
  /** What takes a response. `layout`: how it lies in records, where that is known. */
  out(behind: Behind, layout: Layout | null): ByteSink;
}
