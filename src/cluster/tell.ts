/** Telling a peer what it has not heard yet, a little at a time. */
import type { Frame } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';

/** Pieces told to one link in one step. */
const STEP_PIECES = 4;
/** A link with more waiting is told later. */
const LINK_BUSY_BYTES = 256 * 1024;

/** Something that is told in pieces; each peer has a place in it. */
interface Told<Place, Piece extends Frame> {
  /** Null when the peer knows everything. */
  next(place: Place): Piece | null;
  /** What `next` gave has been sent. */
  sent(place: Place, piece: Piece): void;
}

/** One step: as much as the link takes now. */
export function tell<Place, Piece extends Frame>(told: Told<Place, Piece>, link: Link, place: Place): void {
  for (let i = 0; i < STEP_PIECES && link.queuedBytes < LINK_BUSY_BYTES; i++) {
    const piece = told.next(place);
    if (piece === null || !link.send(piece)) return;
    told.sent(place, piece);
  }
}
