/** Settings of a lab's client's kernel. */
import type { Server } from './server.ts';

/**
 * A client that ends its connections first, and fast, has all of its ports in TIME-WAIT after 28,000 of them, half of
 * which it prefers. Each further connection would then cost it milliseconds of search: it may use them anew after a
 * second.
 */
const REUSE_PORTS = 'net.ipv4.tcp_tw_reuse=1';

/** `setting`: `NAME=VALUE`. */
export async function setClient({ lab, name }: Pick<Server, 'lab' | 'name'>, setting: string): Promise<void> {
  const { code, stderr } = await lab.exec('client', ['sysctl', '-q', '-w', setting]);
  if (code !== 0) throw new Error(`${name}: sysctl: ${stderr}`);
}

export const reusePorts = (server: Pick<Server, 'lab' | 'name'>): Promise<void> =>
  setClient(server, REUSE_PORTS);
