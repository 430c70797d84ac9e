/** Requests of commands to the node that runs on this machine, over its Unix socket. */
import { request } from 'node:http';
import { LOCAL_SOCKET } from '../../node/admin/doors.ts';
import { NODE_FIELD } from '../../node/admin/guard.ts';

const ANSWER_TIMEOUT_MS = 5000;

/**
 * What the node answers, as JSON; null when none runs. Every request names the node that is meant: another one that
 * runs there refuses it.
 */
export type Ask = (method: 'GET' | 'POST', path: string) => Promise<unknown>;

/** The node did not do what it was asked for; the message says why. */
export class AskError extends Error {
  override readonly name = 'AskError';
  readonly code = 'REFUSED';
}

/** The answer's value. Throws AskError when it is a refusal. */
function take(status: number, body: string): unknown {
  const value = JSON.parse(body) as { error?: { code: string; message: string } };
  if (value.error === undefined && status < 300) return value;
  throw new AskError(`${value.error?.code ?? status}: ${value.error?.message ?? body}`);
}

/** Asks the node of this network namespace. */
export function askHere(node: string): Ask {
  return (method, path) =>
    new Promise((resolve, reject) => {
      const headers = { Host: 'localhost', [NODE_FIELD]: node };
      const sent = request(
        { socketPath: LOCAL_SOCKET, method, path, headers, timeout: ANSWER_TIMEOUT_MS },
        (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (text) => {
            body += text;
          });
          response.on('error', reject);
          response.on('end', () => {
            try {
              resolve(take(response.statusCode!, body));
            } catch (error) {
              reject(error);
            }
          });
        },
      );
      sent.on('timeout', () => sent.destroy(new AskError(`node ${node} does not answer ${method} ${path}`)));
      sent.on('error', (error: NodeJS.ErrnoException) => {
        const isNobody = error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET';
        if (isNobody) resolve(null);
        else reject(error);
      });
      sent.end();
    });
}
