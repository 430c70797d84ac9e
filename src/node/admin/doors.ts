/**
 * Where the admin API listens: a TCP address, for probes and metrics, and an abstract Unix socket (unix(7)), for what
 * acts. Both are opened before a node touches anything of its machine. The Unix socket's name is the same for every
 * node and belongs to the network namespace: as routers and addresses do, of which it is the lock. It dies with the
 * process.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { HostPort } from '../../base/config/config.ts';
import { boundConnections } from './connections.ts';
import { listenerOf, peerOf, takenBy } from './credentials.ts';
import { AdminError } from './errors.ts';

/** The whole of sun_path: versions of Node.js differ in whether they fill it up, and a shorter name is another name. */
const SUN_PATH_BYTES = 108;
export const abstractName = (name: string): string => `\0${name}`.padEnd(SUN_PATH_BYTES, '\0');
/** `@baton` for people and ss(8). */
export const LOCAL_SOCKET = abstractName('baton');

const MAX_HEAD_BYTES = 8 * 1024;
const HEAD_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
/** A client that takes no byte of its response for this long is closed. */
const STALL_TIMEOUT_MS = 10_000;
const DEADLINE_CHECK_MS = 1000;
/** How long `close` waits for responses under way. */
const CLOSE_GRACE_MS = 2000;
/** A process that was killed a moment ago may still be closing its sockets. */
const TAKEN_GRACE_MS = 1000;
const TAKEN_POLL_MS = 20;

/** `user`: whose process asks, on the Unix socket; null over TCP. */
export type Handler = (request: IncomingMessage, response: ServerResponse, user: number | null) => void;

export class Doors {
  /** The port is the real one when the configured one was 0. */
  readonly address: HostPort;
  readonly #local: Server;
  readonly #tcp: Server;
  #closed: Promise<unknown> | null = null;

  /**
   * Rejects with NODE_RUNS when a node runs in this network namespace, with ADMIN_ADDRESS when the address cannot be
   * had. Until there is a handler, answers are 503.
   */
  static async open(address: HostPort, localSocket = LOCAL_SOCKET): Promise<Doors> {
    const local = createHttpServer();
    await listen(local, { path: localSocket }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error;
      throw new AdminError('NODE_RUNS', takenBy(await listenerOf(localSocket), process.geteuid?.() ?? 0));
    });
    const tcp = createHttpServer();
    try {
      await listen(tcp, address);
    } catch (error) {
      local.close();
      const hint = 'check the admin address of this node in the configuration (nodes.NAME.admin)';
      throw new AdminError('ADMIN_ADDRESS', `${(error as Error).message}; ${hint}`);
    }
    const { port } = tcp.address() as AddressInfo;
    return new Doors({ host: address.host, port }, local, tcp);
  }

  private constructor(address: HostPort, local: Server, tcp: Server) {
    this.address = address;
    this.#local = local;
    this.#tcp = tcp;
  }

  /** `failed` is told when a connection could not be accepted. */
  serve(handler: Handler, failed: (error: Error) => void): void {
    for (const server of [this.#local, this.#tcp]) {
      server.off('request', refuseAtStart);
      server.on('error', failed);
    }
    // A request without a known user may not act.
    this.#local.on('request', (request, response) =>
      handler(request, response, peerOf(request.socket)?.user ?? null),
    );
    this.#tcp.on('request', (request, response) => handler(request, response, null));
  }

  close(): Promise<unknown> {
    this.#closed ??= Promise.all([closeServer(this.#local), closeServer(this.#tcp)]);
    return this.#closed;
  }
}

function refuseAtStart(_: IncomingMessage, response: ServerResponse): void {
  const body = `${JSON.stringify({ error: { code: 'STARTING', message: 'the node is starting' } })}\n`;
  response.writeHead(503, { 'Content-Type': 'application/json; charset=utf-8', Connection: 'close' });
  response.end(body);
}

/** One request a connection, so that the bound on connections bounds the answers held in memory, pipelining or not. */
function createHttpServer(): Server {
  const server = createServer({
    maxHeaderSize: MAX_HEAD_BYTES,
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: DEADLINE_CHECK_MS,
  });
  server.maxRequestsPerSocket = 1;
  server.setTimeout(STALL_TIMEOUT_MS);
  boundConnections(server);
  server.on('request', refuseAtStart);
  return server;
}

async function listen(server: Server, where: ListenOptions): Promise<void> {
  const endMs = performance.now() + TAKEN_GRACE_MS;
  for (;;) {
    try {
      return await listenOnce(server, where);
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (!isTaken || performance.now() > endMs) throw error;
      await delay(TAKEN_POLL_MS);
    }
  }
}

function listenOnce(server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = () => {
      server.off('error', onError);
      resolve();
    };
    const onError = (error: Error) => {
      server.off('listening', onListening);
      reject(error);
    };
    server.once('error', onError);
    server.once('listening', onListening);
    server.listen(where);
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
