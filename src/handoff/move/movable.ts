/** A client's connection, as whoever moves it to another node knows it. */
import type { MovedResponse } from '../../protocol/backplane/frames.ts';
import type { SentRecords } from '../../protocol/tls/record-layout.ts';
import type { TlsSession } from '../../protocol/tls/session.ts';
import type { OwnSpace } from '../flow/own-space.ts';
import type { Guest } from './guests.ts';

/** A response in progress. `records`: how far it is in them; null: the connection is in the clear. */
export type MovingResponse = MovedResponse & { readonly records: SentRecords | null };

export interface Movable {
  readonly fd: number;
  /** Null: nobody but its own socket has sent on it. */
  readonly flow: { ownSpace(): OwnSpace | null } | null;
  /** Not null: the connection has come from another node. */
  guest: Guest | null;
  /** What it is known by on every node; null when the client has just reset it. */
  readonly key: string | null;
  /** What has been read of it and not answered. */
  readonly unread: Buffer;
  /** The response in progress, as another node has to know it to go on with it; null: none, or none could. */
  readonly movingResponse: MovingResponse | null;
  /** The TLS session, with what was read and not answered; null: the connection is in the clear. */
  readonly session: TlsSession | null;
  /** What the client was shown before this socket existed. */
  readonly shown: { readonly advertisedEdge?: number };
  /** The connection lives at another node; the caller closes the socket silently. */
  moved(): void;
  /** The connection has not moved, and goes on here. */
  resumed(): void;
  /** The connection may live at another node, and must not go on here. */
  broken(reason: string): void;
}
