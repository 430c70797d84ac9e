/** struct flow_key: what finds a connection in the router's maps. */
import type { Endpoint } from '../../base/address.ts';
import { KEY_BYTES } from './layout.ts';

const PUBLIC = 16;
const CLIENT_PORT = 32;
const PUBLIC_PORT = 34;

/** Writes the key of a connection into `key`, of KEY_BYTES. */
export function writeFlowKey(key: Buffer, client: Endpoint, pub: Endpoint): void {
  client.address.copy(key, 0);
  pub.address.copy(key, PUBLIC);
  key.writeUInt16BE(client.port, CLIENT_PORT);
  key.writeUInt16BE(pub.port, PUBLIC_PORT);
}

/** The endpoints that a key stands for. */
export function readFlowKey(key: Buffer): { client: Endpoint; public: Endpoint } {
  return {
    client: { address: Buffer.from(key.subarray(0, PUBLIC)), port: key.readUInt16BE(CLIENT_PORT) },
    public: { address: Buffer.from(key.subarray(PUBLIC, CLIENT_PORT)), port: key.readUInt16BE(PUBLIC_PORT) },
  };
}

/** The key as text: for maps of user space. */
export function flowKeyText(client: Endpoint, pub: Endpoint): string {
  writeFlowKey(scratch, client, pub);
  return scratch.toString('latin1');
}

const scratch = Buffer.alloc(KEY_BYTES);
