/** What a booster's clients may ask for: the clients that do not ask for too much notice nothing of one that does. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/base/address.ts';
import type { ClientLimitsConfig } from '../../src/base/config/config.ts';
import { ClientLimits, MAX_ENTRIES, type Ticket } from '../../src/cluster/client-limits.ts';

const NONE = { connectionsPerSecond: null, requestsPerSecond: null, inFlight: null };
const limits = (perAddress: object, perNetwork: object = {}): ClientLimitsConfig => ({
  perAddress: { ...NONE, ...perAddress },
  perNetwork: { ...NONE, ...perNetwork },
});
const connect = (it: ClientLimits, address: string, nowMs = 0) => it.connects(parseAddress(address), nowMs);
const ticketOf = (it: ClientLimits, address: string): Ticket => {
  const ticket = connect(it, address);
  assert.ok(ticket !== null);
  return ticket;
};

describe('limits of clients', () => {
  test('without limits nobody is turned away', () => {
    const it = new ClientLimits(limits({}));
    const ticket = ticketOf(it, '192.0.2.1');
    for (let i = 0; i < 1000; i++) {
      assert.ok(connect(it, '192.0.2.1') !== null);
      assert.ok(it.asks(ticket, 0));
    }
  });

  test('connections: a second’s worth at once, then as the second passes; another address has its own', () => {
    const it = new ClientLimits(limits({ connectionsPerSecond: 10 }));
    const tries = (nowMs: number) =>
      Array.from({ length: 15 }, () => connect(it, '192.0.2.1', nowMs)).filter((one) => one !== null).length;
    assert.equal(tries(5000), 10);
    assert.equal(tries(5000), 0);
    assert.equal(tries(5200), 2);
    assert.equal(tries(9000), 10);
    assert.ok(connect(it, '192.0.2.2', 9000) !== null);
  });

  test('a network has limits of its own: a /24, of IPv6 a /56; an IPv6 client is its /64', () => {
    const it = new ClientLimits(limits({ connectionsPerSecond: 1 }, { connectionsPerSecond: 3 }));
    const turnedAway = (...addresses: string[]) => addresses.filter((one) => connect(it, one) === null);
    assert.deepEqual(turnedAway('192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.3.1'), [
      '192.0.2.4',
    ]);
    assert.deepEqual(turnedAway('2001:db8:0:1::1', '2001:db8:0:1::2', '2001:db8:0:2::1', '2001:db8:0:3::1'), [
      '2001:db8:0:1::2',
    ]);
    assert.deepEqual(turnedAway('2001:db8:0:4::1', '2001:db8:0:100::1'), ['2001:db8:0:4::1']);
  });

  test('requests in flight: of all connections of a client; what is answered makes room, once', () => {
    const it = new ClientLimits(limits({ inFlight: 2 }));
    const [one, two, three] = ['192.0.2.1', '192.0.2.1', '192.0.2.1'].map((address) => ticketOf(it, address));
    assert.ok(it.asks(one, 0));
    assert.ok(it.asks(two, 0));
    assert.ok(!it.asks(three, 0));
    it.answered(three);
    assert.ok(!it.asks(three, 0), 'it was not in flight');
    it.answered(one);
    it.answered(one);
    assert.ok(it.asks(three, 0));
    assert.ok(!it.asks(one, 0));
  });

  test('others can be put in force while clients are there', () => {
    const it = new ClientLimits(limits({}));
    const ticket = ticketOf(it, '192.0.2.1');
    assert.ok(it.asks(ticket, 0));
    it.answered(ticket);
    it.use(limits({ requestsPerSecond: 1 }));
    assert.ok(it.asks(ticket, 0));
    assert.ok(!it.asks(ticket, 0));
    it.use(limits({}));
    assert.ok(it.asks(ticket, 0));
  });

  test('the table is bounded; a client that is forgotten starts anew', () => {
    const it = new ClientLimits(limits({ connectionsPerSecond: 1 }));
    assert.ok(connect(it, '10.0.0.1') !== null);
    for (let i = 0; i < MAX_ENTRIES; i++) {
      const address = `11.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
      assert.ok(connect(it, address) !== null);
    }
    assert.ok(it.size <= 2 * MAX_ENTRIES);
    assert.ok(connect(it, '10.0.0.1') !== null);
    assert.ok(connect(it, '10.0.0.1') === null);
  });

  test('never more than the rate, and one within its rate is never turned away', () => {
    const steps = fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 50 }), (gaps, perSecond) => {
        const it = new ClientLimits(limits({ requestsPerSecond: perSecond }));
        const flooder = ticketOf(it, '192.0.2.1');
        const other = ticketOf(it, '192.0.2.2');
        let now = 0;
        let taken = 0;
        let nextMs = 0;
        for (const gap of gaps) {
          now += gap;
          for (let i = 0; i < 3; i++) {
            if (it.asks(flooder, now)) taken++;
            it.answered(flooder);
          }
          if (now < nextMs) continue;
          assert.ok(it.asks(other, now));
          it.answered(other);
          nextMs = now + 1000 / perSecond;
        }
        assert.ok(taken <= perSecond + (now * perSecond) / 1000 + 1e-6);
      }),
    );
  });
});
