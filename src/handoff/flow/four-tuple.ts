/** The two ends of a connection, a four-tuple: as frames carry them, and as keys of maps. */

import type { Endpoint } from '../../base/address.ts';
import { unlessSocketDied } from '../../kernel/linux/errors.ts';
import { localEndpoint, remoteEndpoint } from '../../kernel/linux/socket.ts';
import { flowKeyText } from '../../kernel/router/flow-key.ts';
import type { FlowEndpoints } from '../../protocol/backplane/frames.ts';

export interface FourTuple {
  readonly client: Endpoint;
  readonly public: Endpoint;
}

export function tupleToFrame({ client, public: pub }: FourTuple): FlowEndpoints {
  return {
    clientAddress: client.address,
    clientPort: client.port,
    publicAddress: pub.address,
    publicPort: pub.port,
  };
}

/** Copies: a frame's bytes are gone after its handler. */
export function tupleOfFrame(flow: FlowEndpoints): FourTuple {
  return {
    client: { address: Buffer.from(flow.clientAddress), port: flow.clientPort },
    public: { address: Buffer.from(flow.publicAddress), port: flow.publicPort },
  };
}

export function sameTuple(one: FourTuple, other: FourTuple): boolean {
  return (
    one.client.port === other.client.port &&
    one.public.port === other.public.port &&
    one.client.address.equals(other.client.address) &&
    one.public.address.equals(other.public.address)
  );
}

export function tupleKey(ends: FourTuple): string {
  return flowKeyText(ends.client, ends.public);
}

/** The ends of an accepted socket; null when the client has just reset the connection. */
export function tupleOf(fd: number): FourTuple | null {
  try {
    return { client: remoteEndpoint(fd), public: localEndpoint(fd) };
  } catch (error) {
    return unlessSocketDied(error, null);
  }
}

/** The address that the client of an accepted socket has connected to; empty when it has just reset the connection. */
export function publicAddressOf(fd: number): Buffer {
  try {
    return localEndpoint(fd).address;
  } catch (error) {
    return unlessSocketDied(error, Buffer.alloc(0));
  }
}

/**
 * The engine of a node with `engines` that gets whatever comes there of a connection: half-pipes, the connection itself,
 * at its home its route. The same for every node that asks; two engines would be in each other's way.
 */
export function engineFor(key: string, engines: number): number {
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) >>> 0;
  return hash % engines;
}
