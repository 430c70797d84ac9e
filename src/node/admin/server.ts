/**
 * The admin API: health, readiness, metrics, status and flows of a node over HTTP. Where it listens: doors.ts; who may
 * ask what: guard.ts.
 *
 *     /healthz       200 while the process runs
 *     /readyz        200 when every engine reported ready, else 503; JSON: Readiness
 *     /metrics       Prometheus text format
 *     /api/status    JSON: NodeStatus
 *     /api/flows     JSON: FlowStatus[]; `Baton-Omitted: N` when more were left out, `Baton-Unanswered: ENGINES`
 *     /api/explain   ?url=URL; JSON: Explanation, of a GET of that URL at this node
 *     /api/drain     POST, on the Unix socket, with `Baton-Node: NAME`: 202, and the node empties itself and ends
 *     /api/boost/on  likewise: 202, and its new clients go to boosters; /off: they do not; /auto: as its load says; 409
 *                    when there are no boosters for it
 *     /api/purge     likewise, with ?site=NAME&path=PATH: forgets stored responses; JSON: PurgeOutcome
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HostPort } from '../../base/config/config.ts';
import type { AccessBatch } from '../../client/access-batch.ts';
import { BOOST_MODES, type BoostMode } from '../../cluster/boost-switch.ts';
import { nodeFlows, nodeStatus, purgeAll, readiness, type StatusOptions } from './api.ts';
import type { Doors } from './doors.ts';
import type { EngineClient } from './engines.ts';
import { NODE_FIELD, refusal } from './guard.ts';
import { createMetrics, type Metrics } from './metrics.ts';

const ROOT = 0;

const JSON_TYPE = 'application/json; charset=utf-8';

export interface AdminOptions extends StatusOptions {
  /** All engines of the node, from their start. */
  readonly engines: readonly EngineClient[];
  /** Empties the node: its connections go to the others, then the process ends. */
  readonly drain: () => void;
  /** Whether new clients go to boosters. Null: there are none for this node. */
  readonly boost: ((mode: BoostMode) => void) | null;
  /** Names of the sites whose responses this node stores. */
  readonly cachedSites: readonly string[];
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

type Route = (query: URLSearchParams) => Answer | Promise<Answer>;
type Routes = ReadonlyMap<string, Route>;

/** Has the admin API answer at its doors. */
export function startAdmin(doors: Doors, options: AdminOptions): AdminServer {
  const metrics = createMetrics({ ...options, droppedLines: options.droppedLines ?? (() => ({})) });
  const routes = createRoutes(options, metrics);
  const actions = createActions(options);
  const failed = (error: Error) => options.onError?.(error);
  doors.serve((request, response, user) => {
    answer(routes, actions, request, user, options.node).then(
      (value) => send(response, value),
      (error: Error) => {
        failed(error);
        send(response, failure(500, 'INTERNAL', error.message));
      },
    );
  }, failed);
  const observe = ({ timings }: AccessBatch) => metrics.observe(timings);
  for (const client of options.engines) client.on('access', observe);
  return {
    address: doors.address,
    async close() {
      for (const client of options.engines) client.off('access', observe);
      await doors.close();
    },
  };
}

function createRoutes(options: AdminOptions, metrics: Metrics): Routes {
  return new Map<string, (query: URLSearchParams) => Answer | Promise<Answer>>([
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
    ['/api/explain', (query) => explain(options.engines, query.get('url') ?? '')],
  ]);
}

/** What changes something. */
function createActions(options: AdminOptions): Routes {
  const drain = () => {
    options.drain();
    return json(202, { draining: true });
  };
  const boost = (mode: BoostMode) => () => {
    if (options.boost === null)
      return failure(409, 'NO_BOOSTER', `the configuration has no boosters for node ${options.node}`);
    options.boost(mode);
    return json(202, { boost: mode });
  };
  const modes = BOOST_MODES.map((mode) => [`/api/boost/${mode}`, boost(mode)] as const);
  const purge = async (query: URLSearchParams) => {
    const site = query.get('site') ?? '';
    const path = query.get('path') ?? '';
    if (!options.cachedSites.includes(site)) {
      const names = options.cachedSites.join(', ') || 'none';
      return failure(
        404,
        'NO_SITE',
        `node ${options.node} has no cache of site ${site}; those with one: ${names}`,
      );
    }
    if (!path.startsWith('/')) return failure(400, 'NO_PATH', 'say which path, beginning with /');
    return json(200, await purgeAll(options.engines, site, path));
  };
  return new Map<string, Route>([['/api/drain', drain], ['/api/purge', purge], ...modes]);
}

async function flows(engines: readonly EngineClient[]): Promise<Answer> {
  const list = await nodeFlows(engines);
  const fields: Record<string, string> = {};
  if (list.omitted > 0) fields['Baton-Omitted'] = String(list.omitted);
  if (list.unanswered.length > 0)
    fields['Baton-Unanswered'] = list.unanswered.map((one) => one.engine).join(', ');
  return { ...json(200, list.flows), fields };
}

/** Asks the first engine: the others know the same nodes. */
async function explain([engine]: readonly EngineClient[], url: string): Promise<Answer> {
  const asked = URL.canParse(url) ? new URL(url) : null;
  if (asked === null || !/^https?:$/.test(asked.protocol))
    return failure(400, 'URL', `${JSON.stringify(url)} is no URL such as http://example.org/index.html`);
  const value = await engine.explain(asked.host, asked.pathname + asked.search);
  return typeof value === 'string' ? failure(400, 'REQUEST', value) : json(200, value);
}

async function answer(
  routes: Routes,
  actions: Routes,
  request: IncomingMessage,
  user: number | null,
  self: string,
): Promise<Answer> {
  const [path, ...rest] = (request.url ?? '').split('?');
  const action = actions.get(path);
  const refused = refusal({ ...asked(request), path, user, acts: action !== undefined }, self, [
    ROOT,
    process.geteuid!(),
  ]);
  if (refused !== null) return failure(refused.status, refused.code, refused.message);
  const route = action ?? routes.get(path);
  if (route === undefined) {
    const known = [...routes.keys(), ...actions.keys()].join(', ');
    return failure(404, 'NOT_FOUND', `no such resource; there are ${known}`);
  }
  const allowed = action === undefined ? ['GET', 'HEAD'] : ['POST'];
  if (!allowed.includes(request.method ?? '')) {
    const wrong = failure(405, 'METHOD_NOT_ALLOWED', `${path}: use ${allowed[0]}`);
    return { ...wrong, fields: { Allow: allowed.join(', ') } };
  }
  return route(new URLSearchParams(rest.join('?')));
}

function asked({ method = '', headers }: IncomingMessage) {
  const field = (name: string): string | undefined => {
    const value = headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(', ') : value;
  };
  const { host, origin } = headers;
  const fetchSite = field('Sec-Fetch-Site');
  return { method, host, origin, fetchSite, node: field(NODE_FIELD) };
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
