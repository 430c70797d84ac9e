/** What both ends of a conversation between nodes keep to, and what one tells the other. */

/** How long a closed connection's entry stays for what is still under way: FIN, its ACK, retransmissions. */
export const FLOW_LINGER_MS = 2000;

/** A target that has not let go by then has lost its link or its mind; whatever else is waited for will not come. */
export const FLOW_LINGER_LIMIT_MS = 70_000;

/** Bytes that either end may send before the other has asked for more. */
export const RELAY_WINDOW_BYTES = 256 * 1024;

/** One RELAY_DATA frame. */
export const RELAY_PIECE_BYTES = 64 * 1024;

/** A link with more waiting takes no further relay data for now. */
export const LINK_BUSY_BYTES = 1024 * 1024;

/** Nor any but a response's first piece: what waits is what a response that begins comes behind. */
export const RELAY_BACKLOG_BYTES = 128 * 1024;

/** What the anchor is told of the path, for the node that sends next; 0 where it cannot matter. */
export interface PathReport {
  readonly congestionWindow: number;
  readonly srttUs: number;
}

/** A half-pipe that is kept, and that nothing was asked of for so long, goes. */
export const KEEP_IDLE_MS = 10_000;
