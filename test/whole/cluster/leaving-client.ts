/**
 * Clients that reset their connections as soon as something has come, for access.test.ts. Argument: JSON, an address
 * and what each client sends; prints the clients' addresses, in their order.
 */
import { connect } from 'node:net';

export interface Leaving {
  readonly address: string;
  readonly requests: readonly string[];
}

function leave(address: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: 80 }, () => socket.write(request));
    socket.on('error', reject);
    socket.once('data', () => {
      const { localAddress, localPort } = socket;
      socket.resetAndDestroy();
      resolve(`${localAddress}:${localPort}`);
    });
  });
}

const { address, requests } = JSON.parse(process.argv[2]) as Leaving;
const clients: string[] = [];
for (const request of requests) clients.push(await leave(address, request));
console.log(JSON.stringify(clients));
