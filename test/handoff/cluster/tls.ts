/**
 * TLS of the clients of a cluster in one process, behind a handshake that is one byte long: real records by real keys, of
 * which each number seals one plaintext, whoever seals it, whatever happens to nodes, links and connections.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Memory } from '../../../src/kernel/linux/memory.ts';
import { TlsError } from '../../../src/protocol/tls/alerts.ts';
import type { HandshakeResult } from '../../../src/protocol/tls/handshake.ts';
import { ReadHalf } from '../../../src/protocol/tls/read-half.ts';
import { ContentType, contentAt, Opener, Sealer } from '../../../src/protocol/tls/records.ts';
import type { Suite } from '../../../src/protocol/tls/suites.ts';
import { nextHalf, type TrafficHalf, trafficKeys } from '../../../src/protocol/tls/traffic.ts';
import { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import type { Random } from '../../../src/tools/lab/random.ts';

const NOTHING = Buffer.alloc(0);
/** In a record of the client's. */
const RECORD_BYTES = 16_384;
/** In place of a handshake. */
const HELLO = Buffer.from('h');

/** A half as it was at its first record. */
const copyOf = ({ suite, secret }: TrafficHalf): TrafficHalf => ({
  suite,
  secret: Buffer.from(secret),
  number: 0,
});

/** A client's end of a session. */
export class ClientTls {
  readonly #suite: Suite;
  readonly #secrets: readonly [client: TrafficHalf, server: TrafficHalf];
  readonly #write: WriteHalf;
  readonly #read: ReadHalf;
  /** Bytes of its stream that were opened, and what was in them. */
  #openedTo = 0;
  #text: Buffer = NOTHING;

  constructor(suite: Suite, random: Random) {
    this.#suite = suite;
    const half = () => {
      const secret = Buffer.from(Array.from({ length: suite.secretBytes }, () => random.below(256)));
      return { suite, secret, number: 0 };
    };
    this.#secrets = [half(), half()];
    this.#write = new WriteHalf(copyOf(this.#secrets[0]));
    this.#read = new ReadHalf({ half: copyOf(this.#secrets[1]), rest: NOTHING });
  }

  get halves(): readonly TrafficHalf[] {
    return this.#secrets;
  }

  /** What it says before its first request. */
  get hello(): Buffer {
    return HELLO;
  }

  seal(text: string): Buffer {
    const all = Buffer.from(text);
    const records: Buffer[] = [];
    for (let at = 0; at === 0 || at < all.length; at += RECORD_BYTES)
      records.push(this.#write.seal(all.subarray(at, at + RECORD_BYTES), ContentType.APPLICATION_DATA));
    return Buffer.concat(records);
  }

  /** With TLS 1.3: its next records have another key, and so have the cluster's. */
  update(): Buffer {
    return this.#suite.version === 'TLSv1.3' ? this.#write.update(true) : NOTHING;
  }

  /** What is in the records that have come as a whole. `stream`: all that has come, without a gap. */
  textOf(stream: Buffer): Buffer {
    if (stream.length === this.#openedTo) return this.#text;
    this.#read.push(Buffer.from(stream.subarray(this.#openedTo)));
    this.#openedTo = stream.length;
    const pieces = [this.#text];
    for (let next = this.#read.next(); next !== null; next = this.#read.next()) {
      assert.notEqual(next.kind, 'alert', 'no node refuses what the client says');
      if (next.kind === 'data') pieces.push(next.bytes);
    }
    this.#text = Buffer.concat(pieces);
    return this.#text;
  }

  /** A node's end of the handshake. */
  accepted(): { readonly state: 'going' | 'done' } {
    const suite = this.#suite;
    const [client, server] = this.#secrets.map(copyOf);
    let behind: Buffer | null = null;
    return {
      failure: null,
      get state() {
        return behind === null ? 'going' : 'done';
      },
      take: (bytes: Buffer, from: number, to: number) => {
        behind = Buffer.from(bytes.subarray(from + HELLO.length, to));
        return NOTHING;
      },
      takeResult: (): HandshakeResult => ({
        ...{ suite, serverName: null, resumed: false, behind: behind! },
        ...{ clientSecret: client.secret, serverSecret: server.secret, clientRecord: 0, serverRecord: 0 },
      }),
      cancel: () => {},
    } as { readonly state: 'going' | 'done' };
  }

  end(): void {
    this.#write.wipe();
    this.#read.wipe();
  }
}

/** Whose a Sealer is: one of the halves, so many KeyUpdates on. */
type KeyName = string;

/** Looks at each record that is sealed in this process. */
export class RecordWatch {
  /** The halves of all clients, with those that followed from them. */
  readonly #halves: TrafficHalf[][];
  readonly #names = new WeakMap<Sealer, KeyName>();
  /** By key and number: a digest of the content. */
  readonly #sealed = new Map<string, string>();
  readonly #original = Sealer.prototype.seal;
  /** Records that were sealed more than once, alike each time. */
  again = 0;

  constructor(clients: readonly ClientTls[]) {
    this.#halves = clients.flatMap(({ halves }) => halves.map((half) => [half]));
    const watch = this;
    Sealer.prototype.seal = function (
      this: Sealer,
      memory: Memory,
      at: number,
      bytes: number,
      type: ContentType,
    ) {
      const { number, suite } = this;
      const from = at + contentAt(suite);
      const digest = createHash('sha1')
        .update(memory.bytes.subarray(from, from + bytes))
        .update(`${type}`);
      const length = watch.#original.call(this, memory, at, bytes, type);
      watch.#look(this, number, digest.digest('hex'), memory.bytes.subarray(at, at + length));
      return length;
    };
  }

  #look(sealer: Sealer, number: number, digest: string, record: Buffer): void {
    let name = this.#names.get(sealer);
    if (name === undefined) {
      name = this.#nameOf(number, record);
      this.#names.set(sealer, name);
    }
    const place = `${name} ${number}`;
    const before = this.#sealed.get(place);
    if (before === undefined) this.#sealed.set(place, digest);
    else this.again++;
    assert.ok(
      before === undefined || before === digest,
      `key ${name} has sealed two contents by number ${number}`,
    );
  }

  /** The half whose key opens the record. */
  #nameOf(number: number, record: Buffer): KeyName {
    for (const [index, updates] of this.#halves.entries()) {
      if (updates[0].suite.version === 'TLSv1.3') updates.push(nextHalf(updates.at(-1)!));
      const found = updates.findIndex((half) => opens(half, number, record));
      updates.length = Math.max(1, found + 1, updates.length - 1);
      if (found >= 0) return `${index}+${found}`;
    }
    return assert.fail('a record by nobody’s key');
  }

  end(): void {
    Sealer.prototype.seal = this.#original;
  }
}

function opens(half: TrafficHalf, number: number, record: Buffer): boolean {
  const opener = new Opener(trafficKeys({ ...half, number }));
  try {
    // A record is opened where it lies, and this one is on its way.
    opener.open(Buffer.from(record), 0, record.length);
    return true;
  } catch (error) {
    if (error instanceof TlsError) return false;
    throw error;
  } finally {
    opener.free();
  }
}
