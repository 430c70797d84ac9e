/** Runs the client that counts connections in a lab, beside wrk, which counts requests. */
import { fileURLToPath } from 'node:url';
import { reusePorts } from './client-settings.ts';
import type { ConnectionsJob, ConnectionsReport } from './connections-client.ts';
import { pinnedClient } from './processor.ts';
import type { Server } from './server.ts';

const CLIENT = fileURLToPath(new URL('./connections-client.js', import.meta.url));
/** Beyond the duration: connections that were begun are finished. */
const END_TIMEOUT_MS = 30_000;

/** Starts the client; the report comes when it has ended. Failures are part of the report. */
export async function connections(
  server: Pick<Server, 'lab' | 'endpoint' | 'name'>,
  job: Omit<ConnectionsJob, 'endpoint'>,
): Promise<ConnectionsReport> {
  const whole: ConnectionsJob = { ...job, endpoint: server.endpoint };
  const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(whole)]);
  const timeoutMs = job.seconds * 1000 + END_TIMEOUT_MS;
  await reusePorts(server);
  const result = await server.lab.exec('client', argv, { timeoutMs });
  if (result.code !== 0)
    throw new Error(`${server.name}: client ended with ${result.code}\n${result.stderr}`);
  return JSON.parse(result.stdout) as ConnectionsReport;
}

/** The same, for runs in which nothing may fail. */
export async function connectionsWithoutFailure(
  server: Pick<Server, 'lab' | 'endpoint' | 'name'>,
  job: Omit<ConnectionsJob, 'endpoint'>,
): Promise<ConnectionsReport> {
  const report = await connections(server, job);
  if (Object.keys(report.failures).length > 0 || report.connections === 0)
    throw new Error(`${server.name}: failed connections: ${JSON.stringify(report.failures)}`);
  return report;
}
