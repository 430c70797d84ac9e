/** What both ends of a conversation between nodes keep to, and what one tells the other. */

/** How long a closed connection's entry stays for what is still under way: FIN, its ACK, retransmissions. */
export const FLOW_LINGER_MS = 2000;

/** A target that has not let go by then has lost its link or its mind; whatever else is waited for will not come. */
export const FLOW_LINGER_LIMIT_MS = 70_000;

/** How long a route waits for an owner whose link is gone. */
export const LOST_LIMIT_MS = 5000;

/** What the anchor is told of the path, for the node that sends next; 0 where it cannot matter. */
export interface PathReport {
  readonly congestionWindow: number;
  readonly srttUs: number;
}

/** A half-pipe that is kept, and that nothing was asked of for so long, goes. */
export const KEEP_IDLE_MS = 10_000;
