/** Whose process is at the other end of a Unix socket (unix(7), SO_PEERCRED). */
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { allocate } from '../../kernel/linux/memory.ts';
import { getOptionBytes, SOL_SOCKET } from '../../kernel/linux/socket.ts';

const SO_PEERCRED = 17;
/** struct ucred: process, user, group. */
const UCRED_BYTES = 12;

export interface Peer {
  /** 0: in a PID namespace that this process does not see. */
  readonly process: number;
  readonly user: number;
}

/** Null: the socket is closed already. */
export function peerOf(socket: Socket): Peer | null {
  // Node.js has no other way to a socket's descriptor.
  const fd = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
  if (fd < 0) return null;
  const { bytes, address } = allocate(UCRED_BYTES);
  getOptionBytes(fd, SOL_SOCKET, SO_PEERCRED, address, UCRED_BYTES);
  return { process: bytes.readUInt32LE(0), user: bytes.readUInt32LE(4) };
}

/** The process that listens on a Unix socket; null: none does any more. */
export function listenerOf(path: string): Promise<Peer | null> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once('connect', () => {
      resolve(peerOf(socket));
      socket.destroy();
    });
    socket.once('error', () => resolve(null));
  });
}

function commandOf(process: number): string {
  try {
    return ` (${readFileSync(`/proc/${process}/comm`, 'utf8').trim()})`;
  } catch {
    return '';
  }
}

/**
 * Why a node cannot have the Unix socket whose name is the same for every node, and what to do. Any user's process can
 * take that name; so where it is neither root's nor this user's, the holder need not be a node, and nobody says it is.
 */
export function takenBy(holder: Peer | null, ownUser: number): string {
  if (holder === null) return 'a node ran here until a moment ago; try again';
  const { process: pid, user } = holder;
  if (pid === 0)
    return 'a node runs here already, in another PID namespace; ss -xlp there shows the process that has @baton';
  const who = `process ${pid}${commandOf(pid)}`;
  if (user === ownUser || user === 0)
    return `a node runs here already: ${who} has the socket @baton; baton drain NODE ends it`;
  return `the socket @baton, by which a node knows that it is alone, is taken by ${who} of user ${user}; unless that is a node, end it (kill ${pid})`;
}
