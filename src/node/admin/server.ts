/**
 * The admin API: health, readiness, metrics, status and flows of a node over HTTP, read-only and without
 * authentication, on the address that the configuration gives it (127.0.0.1:9900 unless it says otherwise).
 *
 *     /healthz       200 while the process runs
 *     /readyz        200 when every engine reported ready, else 503; JSON: Readiness
 *     /metrics       Prometheus text format
 *     /api/status    JSON: NodeStatus
 *     /api/flows     JSON: FlowStatus[]; `Baton-Omitted: N` when more were left out, `Baton-Unanswered: ENGINES`
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { HostPort } from '../../base/config/config.ts';
import type { AccessRecord } from '../../client/access-records.ts';
import { nodeFlows, nodeStatus, readiness, type StatusOptions } from './api.ts';
import type { EngineClient } from './engines.ts';
import { AdminError } from './errors.ts';
import { createMetrics, type Metrics } from './metrics.ts';

export const MAX_CONNECTIONS = 32;
const MAX_HEAD_BYTES = 8 * 1024;
const HEAD_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
/** A client that takes no byte of its response for this long is closed. */
const STALL_TIMEOUT_MS = 10_000;
const DEADLINE_CHECK_MS = 1000;
/** How long `close` waits for responses under way. */
const CLOSE_GRACE_MS = 2000;

const JSON_TYPE = 'application/json; charset=utf-8';

export interface AdminOptions extends StatusOptions {
  readonly address: HostPort;
  /** All engines of the node, from their start. */
  readonly engines: readonly EngineClient[];
  /** Empties the node: its connections go to the others, then the process ends. */
  readonly drain: () => void;
  /** Lines dropped, by log, for the metrics. */
  readonly droppedLines?: () => Record<string, number>;
  /** Told when an answer could not be made (its client gets 500) or a connection could not be accepted. */
  readonly onError?: (error: Error) => void;
}

export interface AdminServer {
  /** Where it listens: the port is the real one when the configured one was 0. */
  readonly address: HostPort;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly fields?: Record<string, string>;
}

type Routes = ReadonlyMap<string, () => Answer | Promise<Answer>>;

/** Starts the admin API. Rejects with ADMIN_ADDRESS when it cannot listen. */
export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const metrics = createMetrics({ ...options, droppedLines: options.droppedLines ?? (() => ({})) });
  const routes = createRoutes(options, metrics);
  const actions = createActions(options);
  const server = createHttpServer((request, response) => {
    answer(routes, actions, request).then(
      (value) => send(response, value),
      (error: Error) => {
        options.onError?.(error);
        send(response, failure(500, 'INTERNAL', error.message));
      },
    );
  });
  await listen(server, options.address);
  server.on('error', (error) => options.onError?.(error));
  const observe = (records: readonly AccessRecord[]) => metrics.observe(records);
  for (const client of options.engines) client.on('access', observe);
  let closed: Promise<void> | null = null;
  return {
    address: { host: options.address.host, port: (server.address() as AddressInfo).port },
    close() {
      for (const client of options.engines) client.off('access', observe);
      closed ??= closeServer(server);
      return closed;
    },
  };
}

function createRoutes(options: AdminOptions, metrics: Metrics): Routes {
  return new Map<string, () => Answer | Promise<Answer>>([
    ['/healthz', () => json(200, { status: 'ok' })],
    [
      '/readyz',
      () => {
        const value = readiness(options.engines);
        return json(value.ready ? 200 : 503, value);
      },
    ],
    [
      '/metrics',
      async () => ({
        status: 200,
        type: metrics.registry.contentType,
        body: await metrics.registry.metrics(),
      }),
    ],
    ['/api/status', async () => json(200, await nodeStatus(options))],
    ['/api/flows', () => flows(options.engines)],
  ]);
}

/** What changes something. */
function createActions(options: AdminOptions): Routes {
  const drain = () => {
    options.drain();
    return json(202, { draining: true });
  };
  return new Map([['/api/drain', drain]]);
}

async function flows(engines: readonly EngineClient[]): Promise<Answer> {
  const list = await nodeFlows(engines);
  const fields: Record<string, string> = {};
  if (list.omitted > 0) fields['Baton-Omitted'] = String(list.omitted);
  if (list.unanswered.length > 0)
    fields['Baton-Unanswered'] = list.unanswered.map((one) => one.engine).join(', ');
  return { ...json(200, list.flows), fields };
}

async function answer(routes: Routes, actions: Routes, request: IncomingMessage): Promise<Answer> {
  const path = (request.url ?? '').split('?', 1)[0]!;
  const action = actions.get(path);
  const route = action ?? routes.get(path);
  if (route === undefined) {
    const known = [...routes.keys(), ...actions.keys()].join(', ');
    return failure(404, 'NOT_FOUND', `no such resource; there are ${known}`);
  }
  const allowed = action === undefined ? ['GET', 'HEAD'] : ['POST'];
  if (!allowed.includes(request.method ?? '')) {
    const refused = failure(405, 'METHOD_NOT_ALLOWED', `${path}: use ${allowed[0]}`);
    return { ...refused, fields: { Allow: allowed.join(', ') } };
  }
  return route();
}

function json(status: number, value: unknown): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

function failure(status: number, code: string, message: string): Answer {
  return json(status, { error: { code, message } });
}

function send(response: ServerResponse, { status, type, body, fields }: Answer): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    Connection: 'close',
    ...fields,
  });
  response.end(body);
}

/** One request a connection, so that MAX_CONNECTIONS bounds the answers held in memory, pipelining or not. */
function createHttpServer(onRequest: (request: IncomingMessage, response: ServerResponse) => void): Server {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEAD_BYTES,
      headersTimeout: HEAD_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: DEADLINE_CHECK_MS,
    },
    onRequest,
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.maxRequestsPerSocket = 1;
  server.setTimeout(STALL_TIMEOUT_MS);
  return server;
}

function listen(server: Server, { host, port }: HostPort): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => {
      const hint =
        'check the admin address of this node in the configuration, and whether it is running already';
      reject(new AdminError('ADMIN_ADDRESS', `${error.message}; ${hint}`));
    };
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    server.listen({ host, port });
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
