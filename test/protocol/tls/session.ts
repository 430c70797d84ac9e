/** A TLS 1.3 session whose client is node:tls, in memory; its server's halves are the test's once the handshake is over. */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { connect, createSecureContext, TLSSocket } from 'node:tls';
import { ContentType, Opener, RECORD_HEADER_BYTES } from '../../../src/protocol/tls/records.ts';
import type { Suite } from '../../../src/protocol/tls/suites.ts';
import { type TrafficHalf, trafficKeys } from '../../../src/protocol/tls/traffic.ts';

/** Of nobody: for tests. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAfM9yUm4nLtI25q3
ZNgQJmOvHOraRaPSrB8QkvlNHHuhRANCAARuOKdoeYb1T1NmnT4ESA9LOqlcNhmL
kd08GrmNvvkmVOhoKPs3Ce1kuGVAwJnK7sgbvaAy7uXFTZdFMYUvoSNR
-----END PRIVATE KEY-----
`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUOaSR8F4fQfOGbzjqNHsw4HO03lQwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKYmF0b24udGVzdDAgFw0yNjExMjcyMjI2MTZaGA8yMTI2MTEw
MzIyMjYxNlowFTETMBEGA1UEAwwKYmF0b24udGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABG44p2h5hvVPU2adPgRID0s6qVw2GYuR3TwauY2++SZU6Ggo+zcJ
7WS4ZUDAmcruyBu9oDLu5cVNl0UxhS+hI1GjUzBRMB0GA1UdDgQWBBRwSPefsKRH
5s+T/e26DsiVQpKzKzAfBgNVHSMEGDAWgBRwSPefsKRH5s+T/e26DsiVQpKzKzAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIBPtLzNSaRJ1Xi6bHbAC
FP7QlQFw9mYr1r+5qIRW39CoAiEAq6BfIbV5vwhsyd+w8ymR6bimTVOve/F0IgWD
o33Yruc=
-----END CERTIFICATE-----
`;

/** One end of a pair: what is written goes to `onBytes`. */
class End extends Duplex {
  onBytes: (bytes: Buffer) => void = () => {};

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.onBytes(bytes);
    done();
  }

  override _final(done: () => void): void {
    done();
  }
}

export interface Session {
  readonly client: TLSSocket;
  /** The server's halves. */
  readonly read: TrafficHalf;
  readonly write: TrafficHalf;
  /** What the client sends from now on. */
  onBytes(take: (bytes: Buffer) => void): void;
  /** Bytes for the client. */
  send(bytes: Buffer): void;
  destroy(): void;
}

/** How many of the records in `bytes` are of the half with this secret. */
function countRecords(bytes: Buffer, suite: Suite, secret: Buffer): number {
  let number = 0;
  for (let at = 0; at < bytes.length; ) {
    const end = at + RECORD_HEADER_BYTES + bytes.readUInt16BE(at + 3);
    if (bytes[at] === ContentType.APPLICATION_DATA) {
      const opener = new Opener(trafficKeys({ suite, secret, number }));
      try {
        opener.open(bytes, at, end);
        number++;
      } catch {
        // Of the handshake.
      }
      opener.free();
    }
    at = end;
  }
  return number;
}

export async function openSession(suite: Suite): Promise<Session> {
  const near = new End();
  const far = new End();
  const sent: Buffer[] = [];
  near.onBytes = (bytes) => far.push(bytes);
  far.onBytes = (bytes) => {
    sent.push(bytes);
    near.push(bytes);
  };
  const secureContext = createSecureContext({ key: KEY, cert: CERTIFICATE, ciphers: suite.name });
  const server = new TLSSocket(far, { isServer: true, secureContext });
  const secrets = new Map<string, Buffer>();
  server.on('keylog', (line: Buffer) => {
    const [label, , secret] = line.toString().trim().split(' ');
    secrets.set(label, Buffer.from(secret, 'hex'));
  });
  const client = connect({ socket: near, rejectUnauthorized: false, ciphers: suite.name });
  await once(client, 'secureConnect');
  // When the client has this, it has the tickets, too.
  server.write('x');
  await once(client, 'data');
  const secretOf = (name: string) => secrets.get(`${name}_TRAFFIC_SECRET_0`)!;
  const secret = secretOf('SERVER');
  return {
    client,
    read: { suite, secret: secretOf('CLIENT'), number: 0 },
    write: { suite, secret, number: countRecords(Buffer.concat(sent), suite, secret) },
    onBytes: (take) => {
      near.onBytes = take;
    },
    send: (bytes) => near.push(bytes),
    destroy: () => {
      client.destroy();
      server.destroy();
    },
  };
}
