/**
 * What all nodes of a lab put on the wire to a TLS client, segment by segment, and whether a byte of a connection was
 * ever another one: a record number that seals two plaintexts would show as two ciphertexts at one place.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Lab } from '../../../src/tools/lab/lab.ts';

const PCAP_HEADER_BYTES = 24;
const PACKET_HEADER_BYTES = 16;
const ETHERNET_BYTES = 14;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const SYN = 2;
/** Of one direction of a connection, as far as it is compared. */
const MAX_STREAM_BYTES = 128 * 1024 * 1024;

interface Segment {
  readonly connection: string;
  readonly isSyn: boolean;
  readonly sequence: number;
  readonly payload: Buffer;
}

function segmentOf(frame: Buffer): Segment {
  const type = frame.readUInt16BE(12);
  const ip = frame.subarray(ETHERNET_BYTES);
  assert.ok(type === IPV4 || type === IPV6, `EtherType ${type.toString(16)}`);
  const [tcpAt, end, addresses] =
    type === IPV4
      ? [(ip[0] & 15) * 4, ip.readUInt16BE(2), ip.subarray(12, 20)]
      : [40, 40 + ip.readUInt16BE(4), ip.subarray(8, 40)];
  const tcp = ip.subarray(tcpAt, end);
  return {
    connection: `${addresses.toString('hex')} ${tcp.readUInt16BE(2)}`,
    isSyn: (tcp[13] & SYN) !== 0,
    sequence: tcp.readUInt32BE(4),
    payload: tcp.subarray((tcp[12] >> 4) * 4),
  };
}

function* segmentsIn(file: string): Generator<Segment> {
  const bytes = readFileSync(file);
  for (let at = PCAP_HEADER_BYTES; at + PACKET_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    const from = at + PACKET_HEADER_BYTES;
    at = from + length;
    if (at <= bytes.length) yield segmentOf(bytes.subarray(from, at));
  }
}

/** What was sent on a connection, from its first byte on. */
class Stream {
  readonly #first: number;
  #bytes = Buffer.alloc(64 * 1024);
  #isSent = Buffer.alloc(64 * 1024);
  sentTwice = 0;
  length = 0;

  constructor(first: number) {
    this.#first = first;
  }

  /** Returns the place of a byte that was another one before; -1: none was. */
  add({ sequence, payload }: Segment): number {
    const at = (sequence - this.#first) >>> 0;
    const end = at + payload.length;
    assert.ok(end <= MAX_STREAM_BYTES, 'inside the connection');
    while (end > this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(this.#bytes.length)]);
      this.#isSent = Buffer.concat([this.#isSent, Buffer.alloc(this.#isSent.length)]);
    }
    for (let i = 0; i < payload.length; i++) {
      if (this.#isSent[at + i] !== 0) {
        this.sentTwice++;
        if (this.#bytes[at + i] !== payload[i]) return at + i;
      }
    }
    payload.copy(this.#bytes, at);
    this.#isSent.fill(1, at, end);
    this.length = Math.max(this.length, end);
    return -1;
  }
}

export class WireRecord {
  readonly #lab: Lab;
  readonly #directory = mkdtempSync(join(tmpdir(), 'baton-wire-'));
  readonly #captures: ChildProcess[] = [];

  private constructor(lab: Lab) {
    this.#lab = lab;
  }

  static async start(lab: Lab): Promise<WireRecord> {
    const record = new WireRecord(lab);
    await Promise.all(lab.nodes.map(({ name }) => record.#capture(name)));
    return record;
  }

  #file(node: string): string {
    return join(this.#directory, `${node}.pcap`);
  }

  async #capture(node: string): Promise<void> {
    const argv = [
      'tcpdump',
      '-i',
      'eth0',
      '-Q',
      'out',
      '-s',
      '0',
      '-B',
      '65536',
      '-U',
      '-w',
      this.#file(node),
    ];
    // A filter by port reaches TCP behind IPv6 without extension headers only; there are none here.
    const child = this.#lab.spawn(node, [...argv, 'tcp src port 443'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#captures.push(child);
    let said = '';
    while (!said.includes('listening on')) {
      const [bytes] = (await once(child.stderr!, 'data')) as [Buffer];
      said += bytes;
    }
    child.stderr!.resume();
  }

  /** Ends it. Fails when a byte was ever another one; returns how many bytes were sent, and how many of them again. */
  async check(): Promise<{ bytes: number; again: number }> {
    for (const child of this.#captures) {
      const ended = once(child, 'close');
      child.kill('SIGINT');
      await ended;
    }
    const streams = new Map<string, Stream>();
    const files = this.#lab.nodes.map(({ name }) => ({ name, file: this.#file(name) }));
    // Which segment is a connection's first only its anchor shows.
    for (const { file } of files) {
      for (const { connection, isSyn, sequence } of segmentsIn(file))
        if (isSyn) streams.set(connection, new Stream((sequence + 1) >>> 0));
    }
    for (const { name, file } of files) {
      for (const segment of segmentsIn(file)) {
        if (segment.payload.length === 0) continue;
        const stream = streams.get(segment.connection);
        assert.ok(stream !== undefined, `${name} sends on a connection that nobody has accepted`);
        // A window probe is a byte before what is acknowledged.
        const wrong = stream.add(segment);
        assert.equal(wrong, -1, `${name} sends another byte ${wrong} of ${segment.connection}`);
      }
    }
    this.end();
    const sum = (of: (stream: Stream) => number) =>
      [...streams.values()].reduce((all, stream) => all + of(stream), 0);
    return { bytes: sum(({ length }) => length), again: sum(({ sentTwice }) => sentTwice) };
  }

  /** Idempotent. */
  end(): void {
    for (const child of this.#captures) if (child.exitCode === null) child.kill('SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
