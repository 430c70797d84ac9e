/** Rule deaf: what comes to the socket of a connection that moves is kept, as rule park keeps what comes to the node. */
import assert from 'node:assert';
import { after, afterEach, before, test } from 'node:test';
import { type Endpoint, parseAddress } from '../../../src/base/address.ts';
import { setDeaf, setDeafFilter, setHearing } from '../../../src/kernel/linux/deaf.ts';
import { offloadOf } from '../../../src/kernel/linux/frame-writer.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { setMss } from '../../../src/kernel/linux/repair-options.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { flowKeyText } from '../../../src/kernel/router/flow-key.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { Stream, until } from '../tcp/live.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { FAMILIES, type Family, Stand } from './stand.ts';

const skip = skipWithoutRoot();
const MSS = 1400;
/** No more than may be sent before any of it is acknowledged. */
const PAYLOADS = [1, MSS, 9000, 300];
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, own } of FAMILIES)
    for (const address of [client, own])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand();
  setDeafFilter(stand.router.handles.deafFilter);
});
afterEach(() => {
  if (skip === false) stand.engine.parked.drain(() => {});
});
after(() => {
  if (skip === false) stand.close();
});

/** A client's connection, through lo, in segments as on a wire. */
class Connection {
  readonly client: number;
  readonly server: number;
  readonly ends: readonly [client: Endpoint, pub: Endpoint];
  readonly toServer = new Stream();

  constructor({ client, own }: Family) {
    const listener = sockets.listenOn({ address: parseAddress(own), port: 0 }, 1);
    const pub = sockets.localEndpoint(listener);
    this.client = sockets.tcpSocket(pub.address);
    setMss(this.client, MSS);
    sockets.setOption(this.client, sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1);
    sockets.bindTo(this.client, { address: parseAddress(client), port: 0 });
    sockets.connectTo(this.client, pub);
    this.server = sockets.acceptFrom(listener);
    libc.close(listener);
    this.ends = [sockets.localEndpoint(this.client), pub];
  }

  close(): void {
    for (const fd of [this.client, this.server]) sockets.abortClose(fd);
  }
}

interface Kept {
  readonly sequence: number;
  readonly payload: Buffer;
}

function kept(key: string): Kept[] {
  const out: Kept[] = [];
  stand.engine.parked.drain((of, { frame, segmentBytes }) => {
    assert.equal(of, key);
    const offload = offloadOf(frame, segmentBytes);
    assert.ok(offload !== null && offload.lengthBytes === frame.length, 'a whole frame');
    const tcp = frame.subarray(offload.isV4 ? 34 : 54);
    const payload = Buffer.from(tcp.subarray((tcp[12] >> 4) * 4));
    if (payload.length > MSS) assert.ok(segmentBytes > 0 && segmentBytes <= MSS, 'several segments');
    out.push({ sequence: tcp.readUInt32BE(4), payload });
  });
  return out;
}

/** Everything that has come, in order, each byte once. */
function joined(all: readonly Kept[], start: number): Buffer {
  const at = ({ sequence }: Kept) => (sequence - start) >>> 0;
  const bytes = Buffer.alloc(Math.max(0, ...all.map((one) => at(one) + one.payload.length)), 0xff);
  for (const one of all) one.payload.copy(bytes, at(one));
  return bytes;
}

const count = (name: 'parked' | 'park_failed') => stand.router.counters()[name];

for (const family of FAMILIES) {
  test(`${family.name}: what has passed the router comes into the ring, and not to the socket`, {
    skip,
  }, async () => {
    const it = new Connection(family);
    const restore = stand.engine.routes.park(...it.ends, 0)!;
    setDeaf(it.server);
    const all: Kept[] = [];
    const bytes = PAYLOADS.reduce((sum, one) => sum + it.toServer.write(it.client, one), 0);
    await until(() => {
      all.push(...kept(flowKeyText(...it.ends)));
      return all.length > 0 && joined(all, all[0].sequence).length === bytes;
    });
    assert.equal(sockets.receiveQueueBytes(it.server), 0);
    it.toServer.verify(joined(all, all[0].sequence));
    assert.ok(count('parked') >= PAYLOADS.length);
    setHearing(it.server);
    restore();
    it.close();
  });

  test(`${family.name}: what nobody keeps, or a flow's rules have rewritten, is lost, and counted`, {
    skip,
  }, async () => {
    const it = new Connection(family);
    setDeaf(it.server);
    const isLost = async () => {
      const before = count('park_failed');
      it.toServer.write(it.client, 100);
      await until(() => count('park_failed') > before);
      assert.deepEqual(kept(flowKeyText(...it.ends)), []);
    };
    await isLost();
    const restore = stand.engine.routes.park(...it.ends, 0)!;
    const { flows } = stand.engine;
    const slot = flows.allocate();
    flows.resetObserved(slot, { ack: 0, edge: 0, sentNext: 0 });
    flows.write(slot, ranges.emptyRules(layout.ROLE_ANCHOR));
    flows.install(...it.ends, slot);
    await isLost();
    flows.uninstall(slot);
    flows.release(slot);
    restore();
    it.close();
  });
}
