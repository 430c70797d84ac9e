/** What a peer is told of a set, over the wire. */
import assert from 'node:assert/strict';
import { PIECE_BYTES } from '../../../src/cluster/change-log.ts';
import { decodeFrame, encodeFrame, type Frame, frameSize } from '../../../src/protocol/backplane/frames.ts';

/** All pieces that a peer at `place` gets now, as they come off the wire. */
export function pieces<Place, Piece extends Frame>(
  own: { next(place: Place): Piece | null; sent(place: Place, piece: Piece): void },
  place: Place,
): Piece[] {
  const out: Piece[] = [];
  for (let piece = own.next(place); piece !== null; piece = own.next(place)) {
    const bytes = Buffer.alloc(frameSize(piece));
    encodeFrame(piece, bytes, 0);
    assert.ok(bytes.length <= PIECE_BYTES + 100);
    out.push(decodeFrame(bytes) as Piece);
    own.sent(place, piece);
  }
  return out;
}
