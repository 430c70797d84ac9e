/** A session whose client is node:tls, in memory; its server's halves are the test's once the handshake is over. */
import { TlsAcceptor } from '../../../src/protocol/tls/handshake.ts';
import type { Suite } from '../../../src/protocol/tls/suites.ts';
import type { TrafficHalf } from '../../../src/protocol/tls/traffic.ts';
import { makePair } from './certificates.ts';
import { Peer } from './peer.ts';

export interface Session {
  readonly client: Peer['socket'];
  /** The server's halves. */
  readonly read: TrafficHalf;
  readonly write: TrafficHalf;
  /** What the client sends from now on. */
  onBytes(take: (bytes: Buffer) => void): void;
  /** Bytes for the client. */
  send(bytes: Buffer): void;
  destroy(): void;
}

/** Options of a client that speaks this suite alone. */
export function speaking({ name, version }: Suite) {
  return { ciphers: name, minVersion: version, maxVersion: version };
}

let acceptor: TlsAcceptor | null = null;

export async function openSession(suite: Suite): Promise<Session> {
  const pairs = () => [makePair(['a.test']), makePair(['a.test'], 'rsa')];
  acceptor ??= new TlsAcceptor(
    [{ site: 'a', hosts: ['*'], minVersion: 'TLSv1.2', pairs: pairs() }],
    Buffer.alloc(32, 1),
    { wallMs: Date.UTC(2026, 0, 1) },
  );
  const handshake = acceptor.begin();
  const peer = new Peer(speaking(suite));
  let isSecure = false;
  peer.socket.on('secureConnect', () => {
    isSecure = true;
  });
  peer.wire.onBytes = (bytes) => {
    if (handshake.state === 'going') peer.hear(handshake.take(bytes, 0, bytes.length));
  };
  await peer.until(() => isSecure && handshake.state !== 'going');
  if (peer.error !== null) throw peer.error;
  const { clientSecret, clientRecord, serverSecret, serverRecord } = handshake.takeResult();
  return {
    client: peer.socket,
    read: { suite, secret: clientSecret, number: clientRecord },
    write: { suite, secret: serverSecret, number: serverRecord },
    onBytes: (take) => {
      peer.wire.onBytes = take;
    },
    send: (bytes) => peer.hear(bytes),
    destroy: () => peer.socket.destroy(),
  };
}
