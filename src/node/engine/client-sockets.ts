/** What connections do to their clients' sockets, by the real kernel. */
import { type ClientSockets, EMPTY, FAILED } from '../../client/sockets.ts';
import { tupleOf } from '../../handoff/flow/four-tuple.ts';
import { EAGAIN, EINTR, lastErrno, unlessSocketDied } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import {
  abortClose,
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  receiveQueueBytes,
  SHUT_WR,
  sendQueueBytes,
  setOption,
  TCP_USER_TIMEOUT,
} from '../../kernel/linux/socket.ts';
import { SocketSink } from '../../serve/byte-sink.ts';

export const CLIENT_SOCKETS: ClientSockets = {
  receive(fd, { address, bytes }) {
    const got = libc.recv(fd, address, bytes.length, 0);
    if (got >= 0) return got;
    const errno = lastErrno();
    return errno === EAGAIN || errno === EINTR ? EMPTY : FAILED;
  },
  unreadBytes: receiveQueueBytes,
  queuedBytes(fd) {
    try {
      return sendQueueBytes(fd);
    } catch (error) {
      return unlessSocketDied(error, 0);
    }
  },
  out: (fd, behind) => new SocketSink(fd, behind),
  ends: tupleOf,
  shut: (fd) => libc.shutdown(fd, SHUT_WR),
  close: (fd) => libc.close(fd),
  finish(fd) {
    // Unread bytes would have close() throw away what waits for FIN.
    libc.shutdown(fd, SHUT_WR);
    libc.close(fd);
  },
  abort: abortClose,
  limitSilence: (fd, limitMs) => setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, limitMs),
  turnAway(fd, answer, { address, bytes }) {
    // Unread, what has come would make close() reset the connection, and the answer could be overtaken.
    libc.recv(fd, address, bytes.length, 0);
    libc.sendBytes(fd, answer, answer.length, MSG_NOSIGNAL);
    libc.close(fd);
  },
};
