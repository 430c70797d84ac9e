/** A session behind its handshake, as one value: what goes on with it here, or at the node that its connection moves to. */
import type { Suite } from './suites.ts';

export interface TlsSession {
  readonly suite: Suite;
  /** The session was resumed by a ticket. */
  readonly resumed: boolean;
  /** Traffic secrets of what the client sends, and of what it gets. */
  readonly clientSecret: Buffer;
  readonly serverSecret: Buffer;
  /** Number of the next record under each. */
  readonly clientRecord: number;
  readonly serverRecord: number;
  /** What came behind the last record that was opened. */
  readonly behind: Buffer;
  /** Opened, and not used. */
  readonly held: Buffer;
}

/** A copy with its own secrets: both have to be wiped. */
export function copySession(session: TlsSession): TlsSession {
  const copy = (bytes: Buffer) => Buffer.from(bytes);
  const { clientSecret, serverSecret, behind, held } = session;
  return {
    ...session,
    clientSecret: copy(clientSecret),
    serverSecret: copy(serverSecret),
    behind: copy(behind),
    held: copy(held),
  };
}

export function wipeSession({ clientSecret, serverSecret, held }: TlsSession): void {
  for (const bytes of [clientSecret, serverSecret, held]) bytes.fill(0);
}
