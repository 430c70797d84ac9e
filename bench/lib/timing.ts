/** Runs the client that times every request in a lab. */
import { fileURLToPath } from 'node:url';
import { reusePorts } from './client-settings.ts';
import { pinnedClient } from './processor.ts';
import type { Server } from './server.ts';
import type { TimingJob, TimingReport } from './timing-client.ts';

const CLIENT = fileURLToPath(new URL('./timing-client.js', import.meta.url));
/** Beyond the duration: requests that were sent are waited for. */
const END_TIMEOUT_MS = 15_000;

/** Throws when a single request failed. */
export async function timing(server: Server, job: Omit<TimingJob, 'endpoint'>): Promise<TimingReport> {
  const whole: TimingJob = { ...job, endpoint: server.endpoint };
  const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(whole)]);
  await reusePorts(server);
  const timeoutMs = job.seconds * 1000 + END_TIMEOUT_MS;
  const { code, stdout, stderr } = await server.lab.exec('client', argv, { timeoutMs });
  if (code !== 0) throw new Error(`${server.name}: client ended with ${code}\n${stderr}`);
  const report = JSON.parse(stdout) as TimingReport;
  if (report.failures > 0 || report.requests === 0)
    throw new Error(`${server.name}: ${report.failures} failures beside ${report.requests} requests`);
  return report;
}
