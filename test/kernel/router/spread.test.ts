/** Rule spread: what a router remembers of connections that it has sent elsewhere, and for whom it forgets none. */
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { KernelMap } from '../../../src/kernel/linux/bpf.ts';
import { openMapNamed, programInfo } from '../../../src/kernel/linux/bpf-info.ts';
import { writeFlowKey } from '../../../src/kernel/router/flow-key.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, FIN, PSH, RST, type Segment, SYN } from './frames.ts';
import { FAMILIES, type Family, fromClient, PUBLIC_PORT, REDIRECT, Stand, UNSPEC } from './stand.ts';

const skip = skipWithoutRoot();
const PEERS = ['020000000002', '020000000003'].map((mac) => Buffer.from(mac, 'hex'));
const WORD = Buffer.from('payload of the client');
const HERE = 0;
let stand: Stand;
let remembered: KernelMap;
let syns: KernelMap;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand(PEERS);
  const info = readFileSync(`/proc/self/fdinfo/${stand.router.programFd('baton_ingress')}`, 'utf8');
  const { mapIds } = programInfo(Number(/prog_id:\s*(\d+)/.exec(info)![1]));
  remembered = new KernelMap(openMapNamed(mapIds, 'spread'), layout.KEY_BYTES, 8);
  syns = new KernelMap(openMapNamed(mapIds, 'spread_syns'), layout.KEY_BYTES, 12);
});
after(() => {
  if (skip === false) stand.close();
});

/** All connections go to one node. */
function all(owner: number): void {
  stand.engine.spread.write(new Uint8Array(layout.SPREAD_SIZE).fill(owner));
}

/** One connection of a client, which begins at `base`. */
class Connection {
  readonly #family: Family;
  readonly #port: number;
  readonly #base: number;

  constructor(family: Family, port: number, base: number) {
    this.#family = family;
    this.#port = port;
    this.#base = base;
  }

  /** Which node a segment goes to, at `offset` from the SYN. */
  goesTo(offset: number, parts: Partial<Segment> = {}): number {
    const from = { sourcePort: this.#port, seq: add(this.#base, offset), ack: 1, ...parts };
    const { verdict, frame } = stand.run('baton_ingress', fromClient(this.#family, this.#family.own, from));
    if (verdict === UNSPEC) return HERE;
    assert.equal(verdict, REDIRECT);
    return 1 + PEERS.findIndex((mac) => mac.equals(frame.subarray(0, 6)));
  }

  syn(): number {
    return this.goesTo(0, { flags: SYN });
  }

  #writeKey(into: Buffer): void {
    const client = { address: parseAddress(this.#family.client), port: this.#port };
    writeFlowKey(into, client, { address: parseAddress(this.#family.own), port: PUBLIC_PORT });
  }

  get isRemembered(): boolean {
    this.#writeKey(remembered.key.bytes);
    return remembered.lookup();
  }

  /** Its SYN is long ago. */
  forgetSyn(): void {
    this.#writeKey(syns.key.bytes);
    assert.ok(syns.delete());
  }
}

for (const family of FAMILIES) {
  for (const front of [false, true]) {
    const port = front ? 10_000 : 1000;
    const where = `${family.name}, ${front ? 'a front' : 'a server that redirects'}`;

    test(`${where}: a connection is remembered by the first segment behind its handshake`, { skip }, () => {
      stand.engine.spread.setFront(front);
      for (const [i, base] of [1000, 2 ** 31 - 1, 2 ** 32 - 1].entries()) {
        const connection = new Connection(family, port + i, base);
        all(2);
        assert.equal(connection.syn(), 2);
        assert.ok(!connection.isRemembered, 'anybody can send a SYN');
        all(1);
        assert.equal(connection.syn(), 2, 'again');
        for (const [offset, flags] of [
          [2, ACK | PSH], // ahead of the first one
          [2 ** 20, ACK],
          [-1, ACK],
          [1, RST],
          [1, RST | ACK],
          [1, FIN],
        ]) {
          assert.equal(connection.goesTo(offset, { flags }), 2, `${offset} ${flags}`);
          assert.ok(!connection.isRemembered, `${offset} ${flags}`);
        }
        assert.equal(connection.goesTo(1), 2);
        assert.ok(!connection.isRemembered, 'anybody can send this one blindly, too');
        assert.equal(connection.syn(), 2, 'it was under way twice');
        for (const [offset, flags] of [
          [0, ACK],
          [-5000, ACK | PSH],
          [20_000, RST | ACK],
        ]) {
          assert.equal(connection.goesTo(offset, { flags }), 2, `${offset} ${flags}`);
          assert.ok(!connection.isRemembered, `${offset} ${flags}`);
        }
        assert.equal(connection.goesTo(1 + 19_999 * (i % 2), { payload: WORD }), 2);
        assert.ok(connection.isRemembered);
      }
    });

    test(`${where}: what follows another SYN has to complete its handshake first`, { skip }, () => {
      stand.engine.spread.setFront(front);
      const connection = new Connection(family, port + 20, 1000);
      all(2);
      connection.syn();
      connection.goesTo(1);
      const next = new Connection(family, port + 20, 3000);
      assert.equal(next.syn(), 2);
      next.goesTo(2);
      next.goesTo(1);
      assert.ok(!next.isRemembered);
      next.goesTo(2);
      assert.ok(next.isRemembered);
    });

    test(`${where}: a port that is used anew at once goes by the table of now`, { skip }, () => {
      stand.engine.spread.setFront(front);
      for (const remembered of [false, true]) {
        const base = port + 30 + Number(remembered);
        const connection = new Connection(family, base, 1000);
        all(2);
        assert.equal(connection.syn(), 2);
        assert.equal(connection.goesTo(1), 2);
        if (remembered) assert.equal(connection.goesTo(1, { payload: WORD }), 2);
        all(1);
        assert.equal(connection.syn(), 2, 'the same SYN');
        const next = new Connection(family, base, 3000);
        assert.equal(next.syn(), 1);
        assert.equal(next.goesTo(1), 1);
        assert.equal(next.goesTo(1, { payload: WORD }), 1);
        assert.equal(next.goesTo(5, { payload: WORD }), 1);
        assert.ok(next.isRemembered);
      }
    });

    test(`${where}: a SYN comes again, and who got it cannot be reached any more: it goes by the table`, {
      skip,
    }, () => {
      stand.engine.spread.setFront(front);
      const connection = new Connection(family, port + 50, 1000);
      all(2);
      assert.equal(connection.syn(), 2);
      all(1);
      stand.engine.spread.setAway([0]);
      assert.equal(connection.syn(), 2, 'another one is away');
      stand.engine.spread.setAway([0, 1]);
      assert.equal(connection.syn(), 1);
      stand.engine.spread.setAway([]);
      assert.equal(connection.syn(), 1, 'it stays there');
      assert.equal(connection.goesTo(1), 1);
    });

    test(`${where}: neither SYNs nor blind handshakes take a connection's place`, { skip }, () => {
      stand.engine.spread.setFront(front);
      all(2);
      for (let i = 1000; i < 1300; i++) {
        const stranger = new Connection(family, port + i, i);
        assert.equal(stranger.syn(), 2);
        if (i % 2 === 0) assert.equal(stranger.goesTo(1), 2);
        assert.ok(!stranger.isRemembered);
      }
    });

    test(`${where}: a SYN for its endpoints moves no connection, a handshake does`, { skip }, () => {
      stand.engine.spread.setFront(front);
      all(2);
      const connection = new Connection(family, port + 100, 1000);
      connection.syn();
      connection.goesTo(1);
      connection.goesTo(1, { payload: WORD });
      const next = new Connection(family, port + 100, 5_000_000);
      all(1);
      connection.forgetSyn();
      assert.equal(next.syn(), 1);
      assert.equal(connection.goesTo(500, { payload: WORD }), 2, 'it goes on');
      assert.equal(next.goesTo(77), 2, 'no handshake');
      assert.equal(next.goesTo(1), 1);
      assert.equal(next.goesTo(77, { payload: WORD }), 1);
      assert.ok(next.isRemembered);
    });

    test(`${where}: what its owner keeps itself is not remembered`, { skip: skip || front }, () => {
      all(2);
      const connection = new Connection(family, port + 200, 1000);
      connection.syn();
      connection.goesTo(1);
      connection.goesTo(1, { payload: WORD });
      connection.forgetSyn();
      all(HERE);
      const next = new Connection(family, port + 200, 5_000_000);
      assert.equal(next.syn(), HERE);
      assert.equal(connection.goesTo(500, { payload: WORD }), 2, 'it goes on');
      assert.equal(next.goesTo(1), HERE);
      assert.equal(next.goesTo(1, { payload: WORD }), HERE);
      assert.ok(!next.isRemembered, 'and no longer where it went before');
      all(1);
      assert.equal(next.goesTo(77, { payload: WORD }), HERE);
    });
  }
}
