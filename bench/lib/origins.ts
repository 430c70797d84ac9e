/** HTTP servers by node:http on nodes of a lab, for who has them as upstreams. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/tools/lab/lab.ts';
import { atExit } from './cleanup.ts';
import { pinServer } from './processor.ts';

const ORIGIN = fileURLToPath(new URL('./files-origin.js', import.meta.url));
export const ORIGIN_PORT = 8090;

/** One on each of the nodes, with the files in `root` as they are now. Their processes, by node. */
export async function startOrigins(
  lab: Lab,
  nodes: readonly string[],
  root: string,
): Promise<Map<string, number>> {
  const processes = new Map<string, number>();
  for (const node of nodes) {
    const argv = [process.execPath, ORIGIN, String(ORIGIN_PORT), root];
    const origin = lab.spawn(node, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    atExit(() => origin.kill('SIGKILL'));
    await once(origin.stdout!, 'data');
    pinServer(origin.pid!);
    processes.set(`${node}'s upstream`, origin.pid!);
  }
  return processes;
}
