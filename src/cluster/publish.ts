/** Publishes to a peer what it has not heard yet, a little at a time. */
import type { Frame } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';

/** Pieces published to one link in one step. */
const STEP_PIECES = 4;
/** A link with more waiting gets its next piece later. */
const LINK_BUSY_BYTES = 256 * 1024;

/** What is published in pieces; each peer has a place in it. */
interface Published<Place, Piece extends Frame> {
  /** Null when the peer knows everything. */
  next(place: Place): Piece | null;
  /** What `next` gave has been sent. */
  sent(place: Place, piece: Piece): void;
}

/** Sends as much as the link takes now. */
export function publish<Place, Piece extends Frame>(
  published: Published<Place, Piece>,
  link: Link,
  place: Place,
): void {
  for (let i = 0; i < STEP_PIECES && link.queuedBytes < LINK_BUSY_BYTES; i++) {
    const piece = published.next(place);
    if (piece === null || !link.send(piece)) return;
    published.sent(place, piece);
  }
}
