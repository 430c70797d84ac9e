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
import { TcpState } from './repair-options.ts';
import { IPPROTO_TCP, SOCK_CLOEXEC, SOCK_RAW } from './socket.ts';

const AF_NETLINK = 16;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** struct nlmsghdr, struct inet_diag_req_v2, struct inet_diag_msg, struct nlattr. */
const HEADER_BYTES = 16;
const REQUEST_BYTES = 56;
const MESSAGE_BYTES = 72;
const ATTRIBUTE_BYTES = 4;
/** struct inet_diag_sockid: in the request, in the message. */
const ID_BYTES = 48;
const REQUEST_ID = 8;
const MESSAGE_ID = 4;
const MESSAGE_STATE = 1;
/** In struct inet_diag_sockid: two ports, two addresses of 16 bytes, an interface, a cookie (all ones: any). */
const ID_ADDRESSES = 4;
const ID_COOKIE = 40;
const INET_DIAG_MARK = 15;
/** TCP_ESTABLISHED to TCP_CLOSING, without SYN_RECV, TIME_WAIT and LISTEN: bit n is state n. */
const WITH_A_SOCKET = 0xbb6;
const AF_INET = 2;
const AF_INET6 = 10;
const ENOENT = 2;
const REPLY_BYTES = 64 * 1024;

const request = allocate(HEADER_BYTES + REQUEST_BYTES);
const reply = allocate(REPLY_BYTES);

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

/** Calls `take` for each message of a reply: its type, and the bytes after its header. Ends with it. */
function eachMessage(fd: number, take: (type: number, body: Buffer) => boolean): void {
  for (;;) {
    const got = check('recv(sock_diag)', libc.recv(fd, reply.address, REPLY_BYTES, 0));
    for (let at = 0; at + HEADER_BYTES <= got; ) {
      const length = reply.bytes.readUInt32LE(at);
      const type = reply.bytes.readUInt16LE(at + 4);
      if (take(type, reply.bytes.subarray(at + HEADER_BYTES, at + length))) return;
      at += (length + 3) & ~3;
    }
  }
}

function open(): number {
  return check('socket(sock_diag)', libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
}

/** Looks at sockets of the network namespace in which it was made. */
export class SocketStates {
  readonly #fd = open();
  readonly #id = Buffer.alloc(ID_BYTES);

  /** The state (TcpState) of the socket between two ends; CLOSE when there is none, or a listener. */
  of(local: Endpoint, remote: Endpoint): number {
    const id = this.#id.fill(0);
    const four = isMapped(local.address);
    id.writeUInt16BE(local.port, 0);
    id.writeUInt16BE(remote.port, 2);
    local.address.copy(id, ID_ADDRESSES, four ? 12 : 0);
    remote.address.copy(id, ID_ADDRESSES + 16, four ? 12 : 0);
    id.fill(0xff, ID_COOKIE);
    ask(this.#fd, SOCK_DIAG_BY_FAMILY, 0, four ? AF_INET : AF_INET6, id);
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
  for (let at = MESSAGE_BYTES; at + ATTRIBUTE_BYTES <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (body.readUInt16LE(at + 2) === INET_DIAG_MARK) return body.readUInt32LE(at + ATTRIBUTE_BYTES);
    at += Math.max((length + 3) & ~3, ATTRIBUTE_BYTES);
  }
  return 0;
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

/**
 * Ends every TCP socket of this network namespace that has `mark` (SO_MARK), with a reset on its way out. Returns how
 * many there were. Throws SystemError: EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY.
 */
export function destroyMarked(mark: number): number {
  const fd = open();
  try {
    let ended = 0;
    for (const family of [AF_INET, AF_INET6]) {
      for (const id of marked(fd, family, mark)) {
        ask(fd, SOCK_DESTROY, NLM_F_ACK, family, id);
        eachMessage(fd, (type, body) => {
          assert(type === NLMSG_ERROR, 'the answer to a request with NLM_F_ACK');
          const errno = -body.readInt32LE(0);
          // It has ended by itself since.
          if (errno !== 0 && errno !== ENOENT) throw new SystemError('sock_diag', errno, 'destroy');
          if (errno === 0) ended++;
          return true;
        });
      }
    }
    return ended;
  } finally {
    libc.close(fd);
  }
}
