/** `baton drain`: empties a node. Its connections move to the others, then its process ends. */
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';
import { LabError } from '../lab/error.ts';
import { Lab } from '../lab/lab.ts';
import { ADMIN_PORT } from '../lab/plan.ts';

const POLL_MS = 250;
const ANSWER_TIMEOUT_MS = 5000;

interface Flags {
  readonly config?: string;
  readonly name: string;
}

/** What the admin API of the node answers, as JSON; null when nobody listens there any more. */
type Ask = (method: 'GET' | 'POST', path: string) => Promise<unknown>;

/** What of /api/status counts. */
interface Status {
  readonly engines: ReadonlyArray<{ connections: number; flows: number; halfPipes: number }>;
}

function askOverHttp(host: string, port: number): Ask {
  const authority = host.includes(':') ? `[${host}]` : host;
  return async (method, path) => {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    let response: Response;
    try {
      response = await fetch(`http://${authority}:${port}${path}`, { method, signal });
    } catch (error) {
      if (isRefused(error)) return null;
      throw error;
    }
    if (!response.ok) throw new Error(`${method} ${path}: the node answers ${response.status}`);
    return response.json();
  };
}

function isRefused(error: unknown): boolean {
  const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'UND_ERR_SOCKET';
}

/** curl inside the node's namespace: its admin API listens on that loopback only. */
function askInLab(lab: Lab, node: string): Ask {
  lab.node(node);
  return async (method, path) => {
    const url = `http://127.0.0.1:${ADMIN_PORT}${path}`;
    const timeout = String(ANSWER_TIMEOUT_MS / 1000);
    const result = await lab.exec(node, ['curl', '-sS', '-f', '-m', timeout, '-X', method, url]);
    if (result.code === 0) return JSON.parse(result.stdout);
    if (lab.processOf(node) === undefined) return null;
    throw new LabError('LAB_COMMAND', `node ${node}: ${method} ${path}: ${result.stderr.trim()}`);
  };
}

function describe({ engines }: Status): string {
  const sum = (key: 'connections' | 'flows' | 'halfPipes') => engines.reduce((n, one) => n + one[key], 0);
  return `${sum('connections')} connections, ${sum('flows')} flows, ${sum('halfPipes')} half-pipes left`;
}

/** Resolves when the node's process has ended. */
async function drain(node: string, ask: Ask): Promise<void> {
  if ((await ask('POST', '/api/drain')) === null) throw new Error(`node ${node} does not run`);
  let last = '';
  for (;;) {
    const status = (await ask('GET', '/api/status').catch(() => undefined)) as Status | null | undefined;
    if (status === null) break;
    const text = status === undefined ? last : describe(status);
    if (text !== last) console.log(`${node}: ${text}`);
    last = text;
    await delay(POLL_MS);
  }
  console.log(`${node}: empty, its process has ended`);
}

export function drainCommand(): Command {
  return new Command('drain')
    .description('move every connection of a node to the others, and end its process')
    .argument('<node>')
    .option('-c, --config <file>', "the cluster file: the node's admin API must be reachable from here")
    .option('--name <lab>', 'without --config: a node of this lab', 'lab')
    .action(async (node: string, { config: file, name }: Flags) => {
      if (file === undefined) return drain(node, askInLab(Lab.attach(name), node));
      const { admin } = findNode(loadConfig(file), node);
      return drain(node, askOverHttp(admin.host, admin.port));
    });
}
