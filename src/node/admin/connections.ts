/**
 * The connections of an HTTP server, bounded in number and age, so that those who hold theirs keep nobody out: a new
 * one takes the place of the oldest that has not asked yet; when all have, of the oldest.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

export const MAX_CONNECTIONS = 32;
/** An answer is made in a second, and taken in another, unless somebody wants to hold a connection. */
const MAX_AGE_MS = 30_000;

export function boundConnections(server: Server): void {
  /** Oldest first; true: its request has come. */
  const open = new Map<Socket, boolean>();
  server.on('connection', (socket: Socket) => {
    if (open.size >= MAX_CONNECTIONS) oldest(open).destroy();
    open.set(socket, false);
    const timer = setTimeout(() => socket.destroy(), MAX_AGE_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      open.delete(socket);
    });
  });
  server.on('request', ({ socket }: IncomingMessage) => open.set(socket, true));
}

function oldest(open: Map<Socket, boolean>): Socket {
  for (const [socket, hasAsked] of open) {
    if (!hasAsked && !socket.destroyed) return socket;
  }
  return open.keys().next().value!;
}
