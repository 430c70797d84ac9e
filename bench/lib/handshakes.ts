/** Runs the client that counts TLS handshakes in a lab. */
import { fileURLToPath } from 'node:url';
import { reusePorts } from './client-settings.ts';
import type { HandshakesJob, HandshakesReport } from './handshakes-client.ts';
import { pinnedClient } from './processor.ts';
import type { Server } from './server.ts';
import { spentBy } from './wrk.ts';

const CLIENT = fileURLToPath(new URL('./handshakes-client.js', import.meta.url));
const END_TIMEOUT_MS = 10_000;

export interface Handshakes {
  readonly count: number;
  readonly perSecond: number;
  /** By the processor time of node a's process. */
  readonly perCpuSecond: number;
}

/** One round. Throws when a handshake failed, or was not of the kind that was wanted. */
export async function handshakes(server: Server, job: Omit<HandshakesJob, 'endpoint'>): Promise<Handshakes> {
  const whole: HandshakesJob = { ...job, endpoint: server.endpoint };
  const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(whole)]);
  await reusePorts(server);
  const before = spentBy(server, 'a');
  const result = await server.lab.exec('client', argv, { timeoutMs: job.seconds * 1000 + END_TIMEOUT_MS });
  const cpuNs = spentBy(server, 'a') - before;
  if (result.code !== 0)
    throw new Error(`${server.name}: client ended with ${result.code}\n${result.stderr}`);
  const { full, resumed, seconds } = JSON.parse(result.stdout) as HandshakesReport;
  // A worker's first has no ticket.
  if (job.resumed ? full > job.workers : resumed > 0)
    throw new Error(`${server.name}: ${full} full handshakes and ${resumed} by a ticket`);
  const count = full + resumed;
  return { count, perSecond: count / seconds, perCpuSecond: (count * 1e9) / cpuNs };
}
