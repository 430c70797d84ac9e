/** Where a connection's own socket stands in the client's sequence space. */

/** How the own socket's sequence space lies in the client's, from the last own range on. */
export interface OwnSpace {
  /** The own socket's number where that range starts: what lies before is shifted by other amounts. */
  readonly from: number;
  /** Added to the own socket's numbers. */
  readonly shift: number;
  /** Added to its timestamps. */
  readonly stamp: number;
  /** The highest acknowledgement of the client that the router has seen, as the client counts. */
  readonly acknowledged: number;
  /** The highest right edge of the client's window that the router has seen, as the client counts. */
  readonly edge: number;
}
