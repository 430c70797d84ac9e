/** Rule last-ack: a FIN that finds TIME-WAIT is answered from what it says itself. The kernel's sockets are real. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../src/linux/address.ts';
import * as libc from '../../src/linux/libc.ts';
import * as sockets from '../../src/linux/socket.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, CLIENT_MAC, FIN, NODE_MAC, RST, read, type Segment } from './frames.ts';
import {
  assertResult,
  CLIENT_PORT,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  REDIRECT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, own } of FAMILIES)
    for (const address of [client, own])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand();
});
after(() => {
  if (skip === false) stand.close();
});

const at = (address: string, port: number) => ({ address: parseAddress(address), port });

/** A connection that the server has ended first, and the client after it: the kernel keeps TIME-WAIT. */
function leaveTimeWait(family: Family): void {
  const listener = sockets.listenOn(at(family.own, PUBLIC_PORT), 1);
  const client = sockets.tcpSocket(parseAddress(family.client));
  sockets.bindTo(client, at(family.client, CLIENT_PORT));
  sockets.connectTo(client, at(family.own, PUBLIC_PORT));
  for (const fd of [sockets.acceptFrom(listener), client, listener]) libc.close(fd);
}

const timestamps = ([value, echo]: number[]) => ({ timestamps: [value, echo] as const });

/** What passes, whatever is there. */
function passes(family: Family, parts: Partial<Segment>, why: string): void {
  const sent = fromClient(family, family.own, { flags: FIN | ACK, ...parts });
  const result = stand.run('baton_ingress', sent);
  assert.deepEqual([result.verdict, result.counts], [UNSPEC, {}], why);
  assert.deepEqual(result.segment, sent, why);
}

for (const family of FAMILIES)
  test(`${family.name}: last-ack`, { skip }, () => {
    passes(family, {}, 'no socket: the kernel resets it');
    leaveTimeWait(family);
    for (const seq of [7, 2 ** 32 - 1])
      for (const stamps of [[], [2 ** 32 - 3, 4711]]) {
        const [sends, echoes] = stamps.length > 0 ? [stamps, stamps.toReversed()].map(timestamps) : [{}, {}];
        const sent = fromClient(family, family.own, {
          flags: FIN | ACK,
          seq,
          ack: 90_000,
          hops: 17,
          ...sends,
        });
        const numbers = { seq: 90_000, ack: (seq + 1) >>> 0, window: sent.window };
        const answer = toClient(family, family.own, { ...numbers, ...echoes });
        const result = stand.runFrame('baton_ingress', build(sent));
        const segment = read(result.frame, answer);
        assertResult({ ...result, segment }, answer, { verdict: REDIRECT, counts: { last_ack: 1 } });
        assert.deepEqual(
          result.frame.subarray(0, 12),
          Buffer.concat([CLIENT_MAC, NODE_MAC]),
          'MAC addresses',
        );
      }
    passes(family, { payload: Buffer.from('x') }, 'it may be new');
    passes(family, { sack: [[1, 2]] }, 'it misses something');
    for (const flags of [ACK, FIN, RST | ACK]) passes(family, { flags }, 'no FIN that acknowledges');
  });
