/** Whether the node's ports are free, found out before anything of the machine is touched. */
import { formatEndpoint, parseAddress } from '../../base/address.ts';
import type { ClusterConfig, NodeConfig } from '../../base/config/config.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { bindAhead, tcpSocket } from '../../kernel/linux/socket.ts';
import { StartError } from './errors.ts';

/** Throws StartError PORT when another program has one of them. */
export function checkPorts(config: ClusterConfig, self: NodeConfig): void {
  const publics = self.role !== 'front' ? config.nodes.flatMap((node) => node.public) : [];
  const { port, tlsPort } = config.listen;
  const ports = tlsPort === null ? [port] : [port, tlsPort];
  const own = Array.from({ length: self.engines }, (_, engine) => self.backplane + engine);
  const endpoints = [
    ...ports.flatMap((port) => publics.map((address) => ({ address: parseAddress(address), port }))),
    ...own.map((port) => ({ address: parseAddress(self.address), port })),
  ];
  for (const endpoint of endpoints) {
    const fd = tcpSocket(endpoint.address);
    try {
      bindAhead(fd, endpoint);
    } catch (error) {
      const hint = `ss -tlnp 'sport = ${endpoint.port}' shows the program that has it`;
      throw new StartError(
        'PORT',
        `${formatEndpoint(endpoint)} cannot be had: ${(error as Error).message}`,
        hint,
      );
    } finally {
      libc.close(fd);
    }
  }
}
