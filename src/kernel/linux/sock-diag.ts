/**
 * Sockets that no process holds any more: what a process had not delivered when it closed them, or was killed, its
 * kernel goes on delivering, for as long as TCP_USER_TIMEOUT. Found, and ended, over netlink (sock_diag(7)). To end
 * them needs CAP_NET_ADMIN.
 */
import assert from 'node:assert';
import { type Endpoint, isMapped } from '../../base/address.ts';
import { check, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import {
  attribute,
  eachMessage,
  HEADER_BYTES,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  openNetlink,
} from './netlink.ts';
import { TcpState } from './repair-options.ts';
import { IPPROTO_TCP } from './socket.ts';

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
/** struct inet_diag_req_v2, struct inet_diag_msg. */
const REQUEST_BYTES = 56;
const MESSAGE_BYTES = 72;
/** struct inet_diag_sockid: in the request, in the message. */
const ID_BYTES = 48;
const REQUEST_ID = 8;
const MESSAGE_ID = 4;
const MESSAGE_STATE = 1;
/** Offsets in struct inet_diag_sockid: two ports, two addresses of 16 bytes, an interface, a cookie (all ones: any). */
const ID_ADDRESSES = 4;
const ID_COOKIE = 40;
const INET_DIAG_MARK = 15;
/** TCP_ESTABLISHED to TCP_CLOSING, without SYN_RECV, TIME_WAIT and LISTEN: bit n is state n. */
const WITH_A_SOCKET = 0xbb6;
const AF_INET = 2;
const AF_INET6 = 10;
const ENOENT = 2;

const request = allocate(HEADER_BYTES + REQUEST_BYTES);

function ask(fd: number, type: number, flags: number, family: number, id: Buffer | null): void {
  const { bytes, address } = request;
  bytes.fill(0);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(NLM_F_REQUEST | flags, 6);
  bytes[HEADER_BYTES] = family;
  bytes[HEADER_BYTES + 1] = IPPROTO_TCP;
  bytes.writeUInt32LE(WITH_A_SOCKET, HEADER_BYTES + 4);
  id?.copy(bytes, HEADER_BYTES + REQUEST_ID);
  check('send(sock_diag)', libc.send(fd, address, bytes.length, 0));
}

/** Writes what names the socket between two ends. Returns its family. */
function writeId(id: Buffer, local: Endpoint, remote: Endpoint): number {
  const four = isMapped(local.address);
  id.fill(0);
  id.writeUInt16BE(local.port, 0);
  id.writeUInt16BE(remote.port, 2);
  local.address.copy(id, ID_ADDRESSES, four ? 12 : 0);
  remote.address.copy(id, ID_ADDRESSES + 16, four ? 12 : 0);
  id.fill(0xff, ID_COOKIE);
  return four ? AF_INET : AF_INET6;
}

/** Looks at sockets of the network namespace in which it was made. */
export class SocketStates {
  readonly #fd = openNetlink(NETLINK_SOCK_DIAG);
  readonly #id = Buffer.alloc(ID_BYTES);

  /** The state (TcpState) of the socket between two ends; CLOSE when there is none, or a listener. */
  of(local: Endpoint, remote: Endpoint): number {
    const family = writeId(this.#id, local, remote);
    ask(this.#fd, SOCK_DIAG_BY_FAMILY, 0, family, this.#id);
    let state: number = TcpState.CLOSE;
    eachMessage(this.#fd, (type, body) => {
      if (type === SOCK_DIAG_BY_FAMILY) state = body[MESSAGE_STATE];
      else if (-body.readInt32LE(0) !== ENOENT)
        throw new SystemError('sock_diag', -body.readInt32LE(0), 'one');
      return true;
    });
    return state === TcpState.LISTEN ? TcpState.CLOSE : state;
  }

  close(): void {
    check('close', libc.close(this.#fd));
  }
}

function markOf(body: Buffer): number {
  return attribute(body, MESSAGE_BYTES, INET_DIAG_MARK)?.readUInt32LE(0) ?? 0;
}

function marked(fd: number, family: number, mark: number): Buffer[] {
  const ids: Buffer[] = [];
  ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, null);
  eachMessage(fd, (type, body) => {
    if (type === NLMSG_ERROR) throw new SystemError('sock_diag', -body.readInt32LE(0), 'dump');
    if (type === SOCK_DIAG_BY_FAMILY && markOf(body) === mark)
      ids.push(Buffer.from(body.subarray(MESSAGE_ID, MESSAGE_ID + ID_BYTES)));
    return type === NLMSG_DONE;
  });
  return ids;
}

/** Ends a socket, with a reset on its way out. False: there is none, or it has ended by itself since. */
function destroy(fd: number, family: number, id: Buffer): boolean {
  let errno = 0;
  ask(fd, SOCK_DESTROY, NLM_F_ACK, family, id);
  eachMessage(fd, (type, body) => {
    assert(type === NLMSG_ERROR, 'the answer to a request with NLM_F_ACK');
    errno = -body.readInt32LE(0);
    return true;
  });
  if (errno !== 0 && errno !== ENOENT) throw new SystemError('sock_diag', errno, 'destroy');
  return errno === 0;
}

/**
 * Ends every TCP socket of this network namespace that has `mark` (SO_MARK). Returns how many there were. Throws
 * SystemError: EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY.
 */
export function destroyMarked(mark: number): number {
  const fd = openNetlink(NETLINK_SOCK_DIAG);
  try {
    let ended = 0;
    for (const family of [AF_INET, AF_INET6])
      for (const id of marked(fd, family, mark)) if (destroy(fd, family, id)) ended++;
    return ended;
  } finally {
    libc.close(fd);
  }
}

/** As `destroy`, for all sockets between two ends. */
export function destroyBetween(
  ends: ReadonlyArray<{ readonly local: Endpoint; readonly remote: Endpoint }>,
): number {
  const fd = openNetlink(NETLINK_SOCK_DIAG);
  const id = Buffer.alloc(ID_BYTES);
  try {
    return ends.filter(({ local, remote }) => destroy(fd, writeId(id, local, remote), id)).length;
  } finally {
    libc.close(fd);
  }
}
