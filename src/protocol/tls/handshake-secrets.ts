/** What OpenSSL tells of a handshake's secrets, and the halves that follow from it. */
import assert from 'node:assert';
import { allocate } from '../../kernel/linux/memory.ts';
import { openssl } from '../../kernel/linux/openssl.ts';
import { keyBlock, RANDOM_BYTES } from './key-block.ts';
import { ContentType } from './records.ts';
import { RECORD_HEADER_BYTES, type Suite } from './suites.ts';

export const CHANGE_CIPHER_SPEC = 20;
const RANDOM = allocate(RANDOM_BYTES);

/** Both halves of a session, as far as they are not of the suite. Whoever takes it wipes the secrets after use. */
export interface Halves {
  /** Of what the client sends, and of what it gets. */
  readonly clientSecret: Buffer;
  readonly serverSecret: Buffer;
  /** Number of the next record under each. */
  readonly clientRecord: number;
  readonly serverRecord: number;
}

/** The traffic secrets of TLS 1.3; the master secret of TLS 1.2. */
export type SecretName = 'client' | 'server' | 'master';

export class HandshakeSecrets {
  readonly #told: Record<SecretName, Buffer | null> = { client: null, server: null, master: null };
  /** Records that the client has sent under the key of its half, with TLS 1.2; null: none can have been. */
  #clientRecords: number | null = null;

  tell(name: SecretName, secret: Buffer): void {
    this.#told[name]?.fill(0);
    this.#told[name] = secret;
  }

  /** The client has sent a record of that type. */
  received(type: number): void {
    if (type === CHANGE_CIPHER_SPEC) this.#clientRecords = 0;
    else if (this.#clientRecords !== null) this.#clientRecords++;
  }

  /**
   * `flight`: the last that OpenSSL has sent; `output`: what of it behind the client's Finished. The caller wipes the
   * secrets. Null: TLS 1.2 whose flight does not end as it must.
   */
  halves(session: number, suite: Suite, flight: Buffer, output: Buffer): Halves | null {
    if (suite.version === 'TLSv1.2') return this.#halves12(session, suite, flight);
    return {
      clientSecret: this.#take('client'),
      serverSecret: this.#take('server'),
      clientRecord: 0,
      serverRecord: sealedRecords(output),
    };
  }

  #halves12(session: number, suite: Suite, flight: Buffer): Halves | null {
    const finished = lastRecord(flight);
    if (finished === null || this.#clientRecords === null) return null;
    const { clientRandom, serverRandom } = openssl();
    const randomOf = (get: typeof clientRandom) => {
      get(session, RANDOM.address, RANDOM_BYTES);
      return Buffer.from(RANDOM.bytes);
    };
    const { client: clientSecret, server: serverSecret } = keyBlock(
      suite,
      this.#secret('master'),
      randomOf(clientRandom),
      randomOf(serverRandom),
      finished.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + suite.nonceBytes),
    );
    return { clientSecret, serverSecret, clientRecord: this.#clientRecords, serverRecord: 1 };
  }

  #secret(name: SecretName): Buffer {
    const secret = this.#told[name];
    assert(secret !== null, 'it is known when a handshake is done');
    return secret;
  }

  /** The caller owns the secret from now on, and wipes it. */
  #take(name: SecretName): Buffer {
    const secret = this.#secret(name);
    this.#told[name] = null;
    return secret;
  }

  /** Idempotent. */
  wipe(): void {
    for (const name of ['client', 'server', 'master'] as const) {
      this.#told[name]?.fill(0);
      this.#told[name] = null;
    }
  }
}

/** Records under the traffic key of TLS 1.3: everything that is sent behind the client's Finished, tickets alone. */
function sealedRecords(output: Buffer): number {
  let count = 0;
  for (let at = 0; at < output.length; at = endOf(output, at)) {
    assert(output[at] === ContentType.APPLICATION_DATA, 'nothing in the clear follows');
    count++;
  }
  return count;
}

function endOf(records: Buffer, at: number): number {
  return at + RECORD_HEADER_BYTES + records.readUInt16BE(at + 3);
}

/** The server's Finished of TLS 1.2: the one record that OpenSSL has sealed. Null: it is another. */
function lastRecord(flight: Buffer): Buffer | null {
  let typeBefore = 0;
  for (let at = 0; at < flight.length; at = endOf(flight, at)) {
    if (endOf(flight, at) === flight.length)
      return typeBefore === CHANGE_CIPHER_SPEC ? flight.subarray(at) : null;
    typeBefore = flight[at];
  }
  return null;
}
