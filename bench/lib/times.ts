/** Runs the client that times each request in a lab, beside wrk, which corrects what it tells. */
import { fileURLToPath } from 'node:url';
import { reusePorts } from './client-settings.ts';
import { pinnedClient } from './processor.ts';
import type { Server } from './server.ts';
import type { TimesJob, TimesReport } from './times-client.ts';

const CLIENT = fileURLToPath(new URL('./times-client.js', import.meta.url));
const END_TIMEOUT_MS = 10_000;

/** One round. Throws when a request failed. */
export async function times(
  server: Pick<Server, 'lab' | 'endpoint' | 'name'>,
  job: Omit<TimesJob, 'endpoint'>,
): Promise<TimesReport> {
  const whole: TimesJob = { ...job, endpoint: server.endpoint };
  const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(whole)]);
  if (job.requests !== undefined) await reusePorts(server);
  const timeoutMs = job.seconds * 1000 + END_TIMEOUT_MS;
  const result = await server.lab.exec('client', argv, { timeoutMs });
  if (result.code !== 0)
    throw new Error(`${server.name}: client ended with ${result.code}\n${result.stderr}`);
  return JSON.parse(result.stdout) as TimesReport;
}
