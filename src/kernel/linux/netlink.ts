/** What every netlink protocol has in common (netlink(7)): messages with a header, and attributes within them. */
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { SOCK_CLOEXEC, SOCK_RAW } from './socket.ts';

const AF_NETLINK = 16;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_EXCL = 0x200;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** struct nlmsghdr: length, type, flags, sequence number, port. */
export const HEADER_BYTES = 16;
/** struct nlattr: length with itself, type. */
export const ATTRIBUTE_BYTES = 4;
const REPLY_BYTES = 64 * 1024;

const reply = allocate(REPLY_BYTES);

/** Opens a socket of a netlink protocol, in this network namespace. */
export function openNetlink(protocol: number): number {
  return check('socket(netlink)', libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
}

/** Calls `take` for each message of a reply: its type, and the bytes after its header. Ends when it says true. */
export function eachMessage(fd: number, take: (type: number, body: Buffer) => boolean): void {
  for (;;) {
    const got = check('recv(netlink)', libc.recv(fd, reply.address, REPLY_BYTES, 0));
    for (let at = 0; at + HEADER_BYTES <= got; ) {
      const length = reply.bytes.readUInt32LE(at);
      const type = reply.bytes.readUInt16LE(at + 4);
      if (take(type, reply.bytes.subarray(at + HEADER_BYTES, at + length))) return;
      at += (length + 3) & ~3;
    }
  }
}

/** The value of an attribute; undefined when the message has none of that type. `start`: where attributes begin. */
export function attribute(body: Buffer, start: number, type: number): Buffer | undefined {
  for (let at = start; at + ATTRIBUTE_BYTES <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (body.readUInt16LE(at + 2) === type) return body.subarray(at + ATTRIBUTE_BYTES, at + length);
    at += Math.max((length + 3) & ~3, ATTRIBUTE_BYTES);
  }
  return undefined;
}
