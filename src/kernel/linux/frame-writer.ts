/**
 * Frames that have come in, written to their interface again (packet(7)). What an interface or the kernel has left
 * out of a frame, its checksum or its division into segments, is left out again. Needs CAP_NET_RAW.
 */
import { foldSum, sumWords } from './checksum.ts';
import { check, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { AF_PACKET, SOL_PACKET } from './packet.ts';
import { SO_MARK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, setOption } from './socket.ts';

const PACKET_VNET_HDR = 15;
const SO_SNDBUFFORCE = 32;
/** Room for the frames of one turn of the loop, which leave at once. */
const SEND_BUFFER_BYTES = 4 * 1024 * 1024;
const SOCKADDR_LL_BYTES = 20;

const ETHERNET_BYTES = 14;
const ETHERNET_TYPE = 12;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const IPV6_HEADER_BYTES = 40;
const TCP_HEADER_BYTES = 20;
const TCP_CHECKSUM = 16;
const TCP_OFFSET = 12;
const PROTOCOL_TCP = 6;
const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMP6 = 58;
const IPV4_PROTOCOL = ETHERNET_BYTES + 9;
const IPV6_NEXT_HEADER = ETHERNET_BYTES + 6;

/** struct virtio_net_hdr (include/uapi/linux/virtio_net.h). */
const OFFLOAD_BYTES = 10;
const NEEDS_CHECKSUM = 1;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;

/** What of a frame is still to be done, as struct virtio_net_hdr says it. */
export interface Offload {
  /** Bytes of the frame without padding. */
  readonly lengthBytes: number;
  readonly needsChecksum: boolean;
  /** Where the checksum begins to count, from the start of the frame. */
  readonly checksumStart: number;
  readonly headerBytes: number;
  readonly isV4: boolean;
}

/**
 * What is left to do of a TCP segment in a frame. Null: its checksum is wrong, or it is none. A checksum that is left out has the sum
 * of the pseudo-header in its place; that of a frame of several segments always is. Of ICMP, errors about segments,
 * nothing is left out.
 */
export function offloadOf(frame: Buffer, segmentBytes: number): Offload | null {
  if (frame.length < ETHERNET_BYTES + IPV6_HEADER_BYTES) return null;
  const type = frame.readUInt16BE(ETHERNET_TYPE);
  if (type !== ETH_P_IP && type !== ETH_P_IPV6) return null;
  const isV4 = type === ETH_P_IP;
  const ipBytes = isV4 ? (frame[ETHERNET_BYTES] & 15) * 4 : IPV6_HEADER_BYTES;
  const start = ETHERNET_BYTES + ipBytes;
  const stated = isV4
    ? frame.readUInt16BE(ETHERNET_BYTES + 2)
    : frame.readUInt16BE(ETHERNET_BYTES + 4) + ipBytes;
  const end = ETHERNET_BYTES + stated;
  if (end > frame.length) return null;
  const protocol = frame[isV4 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER];
  if (protocol === (isV4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6) && segmentBytes === 0)
    return { lengthBytes: end, needsChecksum: false, checksumStart: 0, headerBytes: 0, isV4 };
  if (protocol !== PROTOCOL_TCP || end < start + TCP_HEADER_BYTES) return null;
  const addresses = isV4 ? sumWords(frame, 26, 34) : sumWords(frame, 22, 54);
  const pseudo = addresses + PROTOCOL_TCP + (end - start);
  const needsChecksum = frame.readUInt16BE(start + TCP_CHECKSUM) === foldSum(pseudo);
  if (!needsChecksum && (segmentBytes > 0 || foldSum(pseudo + sumWords(frame, start, end)) !== 0xffff))
    return null;
  const headerBytes = start + (frame[start + TCP_OFFSET] >> 4) * 4;
  return { lengthBytes: end, needsChecksum, checksumStart: start, headerBytes, isV4 };
}

export class FrameWriter {
  readonly #fd: number;
  readonly #address = allocate(SOCKADDR_LL_BYTES);
  readonly #buffer;

  /** Every frame leaves with `mark` (SO_MARK). */
  constructor(interfaceName: string, mark: number, maxFrameBytes: number) {
    const index = libc.ifNameToIndex(interfaceName);
    if (index === 0) throw new SystemError('if_nametoindex', lastErrno(), interfaceName);
    this.#buffer = allocate(OFFLOAD_BYTES + maxFrameBytes);
    // Protocol 0: it receives nothing.
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#fd = check('socket', libc.socket(AF_PACKET, type, 0), 'AF_PACKET');
    setOption(this.#fd, SOL_PACKET, PACKET_VNET_HDR, 1);
    setOption(this.#fd, SOL_SOCKET, SO_MARK, mark);
    setOption(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
    this.#address.view.setUint16(0, AF_PACKET, true);
    this.#address.view.setInt32(4, index, true);
  }

  /** `segmentBytes`: payload of each segment in it; 0: it is one. False: the frame is damaged, or has no room. */
  write(frame: Buffer, segmentBytes: number): boolean {
    const offload = offloadOf(frame, segmentBytes);
    if (offload === null) return false;
    const { bytes, view, address } = this.#buffer;
    const { lengthBytes, needsChecksum, isV4 } = offload;
    const several = segmentBytes > 0 ? (isV4 ? GSO_TCPV4 : GSO_TCPV6) : 0;
    view.setUint8(0, needsChecksum ? NEEDS_CHECKSUM : 0);
    view.setUint8(1, several);
    view.setUint16(2, several > 0 ? offload.headerBytes : 0, true);
    view.setUint16(4, segmentBytes, true);
    view.setUint16(6, needsChecksum ? offload.checksumStart : 0, true);
    view.setUint16(8, needsChecksum ? TCP_CHECKSUM : 0, true);
    frame.copy(bytes, OFFLOAD_BYTES, 0, lengthBytes);
    this.#address.view.setUint16(2, isV4 ? ETH_P_IP : ETH_P_IPV6, false);
    const length = OFFLOAD_BYTES + lengthBytes;
    return libc.sendto(this.#fd, address, length, 0, this.#address.address, SOCKADDR_LL_BYTES) === length;
  }

  close(): void {
    libc.close(this.#fd);
  }
}
