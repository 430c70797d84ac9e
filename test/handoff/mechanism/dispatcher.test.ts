/** Which row of the mechanism table a request comes to, by what can be had. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MechanismSetting, SiteConfig } from '../../../src/base/config/config.ts';
import { Outages } from '../../../src/cluster/outages.ts';
import type { Choice } from '../../../src/cluster/policy/policy.ts';
import { LocalDelivery } from '../../../src/handoff/anchor/local.ts';
import { RelayDelivery } from '../../../src/handoff/anchor/relay.ts';
import { Dispatcher } from '../../../src/handoff/mechanism/dispatcher.ts';
import type { RequestInProgress } from '../../../src/handoff/mechanism/mechanism.ts';
import { CALLS_PER_KIB } from '../../../src/handoff/mechanism/prices.ts';
import type { Delivery } from '../../../src/handoff/request/delivery.ts';
import { FrameType, SetupMechanism } from '../../../src/protocol/backplane/frames.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import type { Request } from '../../../src/serve/request.ts';
import type { Site } from '../../../src/serve/sites.ts';
import { parsed } from '../../protocol/http/support.ts';
import { AnchorStand, FD, HostModel, LinkModel, request } from '../anchor/stand.ts';

const A = 0;
const B = 1;
const ROW_OF: Partial<Record<SetupMechanism, string>> = {
  [SetupMechanism.RELAY]: 'relay',
  [SetupMechanism.ANCHOR]: 'anchor',
  [SetupMechanism.CLONE]: 'clone',
  [SetupMechanism.SPLIT]: 'split',
  [SetupMechanism.BOOST]: 'boost',
};

/** A request in progress whose connection is one of an anchor's. */
class InProgressModel extends HostModel implements RequestInProgress {
  readonly fd = FD;
  readonly #stand: Case;
  readonly key = 'key';
  hasCome = false;
  fullyTried = false;
  readonly standing = { answered: 0, overpaidUs: 0 };

  constructor(stand: Case) {
    super();
    this.#stand = stand;
  }

  get request(): Request {
    return this.#stand.asked;
  }

  retain(): Request {
    return this.#stand.asked;
  }

  readonly flow = null;

  ensureFlow() {
    return this.#stand.flows.create(FD);
  }

  takeStandby() {
    return null;
  }
}

interface Given {
  readonly mechanism: MechanismSetting;
  /** Of the response, where mechanism auto asks. */
  readonly bytes?: number;
  readonly node?: number;
  /** The link to node b is up. */
  readonly up?: boolean;
  readonly bodyFollows?: boolean;
  /** Node a can answer as well. */
  readonly here?: boolean;
  readonly halfPipes?: number;
  readonly tried?: readonly number[];
  readonly leaving?: boolean;
  readonly head?: string;
  /** This node is a booster, and has the connection for that one. */
  readonly origin?: number;
  /** Clients are told by Server-Timing. */
  readonly told?: boolean;
  /** Its client asks for too much. */
  readonly limited?: boolean;
}

class Case extends AnchorStand {
  readonly link = new LinkModel(B);
  readonly asked: Request;
  readonly inProgress = new InProgressModel(this);
  readonly #given: Given;

  constructor(given: Given) {
    super(given.halfPipes);
    this.#given = given;
    const head = given.head === undefined ? {} : { head: parsed(given.head) };
    this.asked = request({ bodyFollows: given.bodyFollows ?? false, ...head });
  }

  get site(): Site {
    const { mechanism, here = true } = this.#given;
    const clone = { pre: false, keep: false };
    const load = { accepting: true } as never;
    return {
      config: { name: 'site', mechanism, clone } as SiteConfig,
      digest: 1,
      content: here ? ({} as never) : null,
      upstream: null,
      cache: null,
      candidates: [A, B].map((index) => ({ index, name: 'ab'[index], load })),
      outages: new Outages(),
    };
  }

  get #choice(): Choice {
    const { mechanism, node = B } = this.#given;
    return { node, mechanism };
  }

  get dispatcher(): Dispatcher {
    const { clock, counters: count, handoffs, streams, link, site } = this;
    const { up = true, leaving = false, origin = null, limited = false } = this.#given;
    return new Dispatcher({
      clock,
      count,
      later: { defer: () => {} },
      self: A,
      handoffs,
      streams,
      sites: {
        exchange: () => new Exchange(),
        failure: () => new Exchange(),
        candidatesFor: () => site.candidates,
        isTold: () => this.#given.told ?? false,
      },
      repeatableChoices: { of: () => null },
      config: { sites: [site.config] },
      policies: { of: () => ({ choose: () => this.#choice }) },
      sizeOf: () => this.#given.bytes ?? null,
      loadOf: () => ({ cpuPermille: 0 }),
      callsPerKib: CALLS_PER_KIB,
      linkOf: () => (up ? link.link : undefined),
      mayMoveTo: () => true,
      nextTaker: () => null,
      isLeaving: () => leaving,
      boosted: origin === null ? null : { originOf: () => origin, asks: () => !limited },
    });
  }

  dispatch(dispatcher = this.dispatcher): Delivery | null {
    const { tried = [] } = this.#given;
    return dispatcher.dispatch(this.inProgress, this.site, tried, tried.length === 0 ? this.#choice : null);
  }

  /** The row that the request came to. */
  get row(): string {
    const delivery = this.dispatch();
    if (delivery instanceof LocalDelivery) return 'local';
    assert.ok(delivery !== null);
    const row = ROW_OF[this.link.last(FrameType.SETUP).mechanism]!;
    assert.equal(delivery instanceof RelayDelivery, row === 'relay' || row === 'boost');
    return row;
  }
}

const row = (given: Given): string => new Case(given).row;

/** Of a TLS connection. */
function half(): WriteHalf {
  const [suite] = SUITES;
  return new WriteHalf({ suite, secret: Buffer.alloc(suite.secretBytes, 1), number: 2 });
}

describe('the dispatcher', () => {
  for (const mechanism of ['relay', 'anchor', 'clone', 'split'] as const) {
    test(`${mechanism}: as the policy says`, () => {
      assert.equal(row({ mechanism }), mechanism);
      assert.equal(row({ mechanism, here: false }), mechanism);
    });

    test(`${mechanism}: here, when the policy names this node, the link is down, or this node goes away`, () => {
      assert.equal(row({ mechanism, node: A }), 'local');
      assert.equal(row({ mechanism, up: false }), 'local');
      assert.equal(row({ mechanism, leaving: true }), 'local');
    });

    test(`${mechanism}: to the target all the same when this node goes away and has nothing to answer with`, () => {
      assert.equal(row({ mechanism, leaving: true, here: false }), mechanism);
    });

    test(`${mechanism}: a body too large for SETUP goes by relay`, () => {
      assert.equal(row({ mechanism, bodyFollows: true }), 'relay');
    });
  }

  for (const mechanism of ['anchor', 'clone', 'split'] as const) {
    test(`${mechanism} without room: here, or by relay when nothing is here`, () => {
      const full = new Case({ mechanism, halfPipes: 0 });
      assert.equal(full.row, 'local');
      assert.equal(full.counters.get('handoffs_no_room'), 1);
      assert.equal(row({ mechanism, halfPipes: 0, here: false }), 'relay');
    });

    test(`${mechanism}: a silent node is lent no key: here, or by relay; without TLS it is asked all the same`, () => {
      const silent = (here: boolean, secure: boolean) => {
        const it = new Case({ mechanism, here });
        it.link.isSilent = true;
        if (secure) it.inProgress.wayOut.half = half();
        return it.row;
      };
      assert.equal(silent(true, true), 'local');
      assert.equal(silent(false, true), 'relay');
      assert.equal(silent(true, false), mechanism);
    });

    test(`${mechanism}: SETUP that the link does not take is no handoff`, () => {
      const full = new Case({ mechanism });
      full.link.full = true;
      assert.equal(full.row, 'local');
    });
  }

  for (const mechanism of ['migrate', 'drain'] as const) {
    test(`${mechanism}: a connection that could not move is answered here, else by relay`, () => {
      assert.equal(row({ mechanism }), 'local');
      assert.equal(row({ mechanism, bodyFollows: true }), 'local');
      assert.equal(row({ mechanism, here: false }), 'relay');
    });
  }

  test('auto: by relay what is small, straight from the target what is large, or of unknown size', () => {
    for (const here of [true, false]) {
      assert.equal(row({ mechanism: 'auto', bytes: 1000, here }), 'relay');
      assert.equal(row({ mechanism: 'auto', bytes: 1e6, here }), 'anchor');
      assert.equal(row({ mechanism: 'auto', here }), 'anchor');
    }
  });

  test('auto: here, by relay, or by what is left when the row that was chosen cannot be had, as any other', () => {
    assert.equal(row({ mechanism: 'auto', bytes: 1e6, node: A }), 'local');
    assert.equal(row({ mechanism: 'auto', bytes: 1e6, up: false }), 'local');
    assert.equal(row({ mechanism: 'auto', bytes: 1e6, bodyFollows: true }), 'relay');
    assert.equal(row({ mechanism: 'auto', bytes: 1e6, halfPipes: 0 }), 'local');
    assert.equal(row({ mechanism: 'auto', bytes: 1e6, halfPipes: 0, here: false }), 'relay');
  });

  test('auto: only what is sent of a document counts', () => {
    const asked = (bytes: number, head: string) => {
      const it = new Case({ mechanism: 'auto', bytes });
      return { row: new Case({ mechanism: 'auto', bytes, head }).row, whole: it.row };
    };
    assert.deepEqual(asked(1e6, 'HEAD / HTTP/1.1\r\nHost: h\r\n\r\n'), { row: 'relay', whole: 'anchor' });
    const range = (field: string) => `GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=${field}\r\n\r\n`;
    assert.equal(asked(1e6, range('5-9')).row, 'relay');
    assert.equal(asked(1e6, range('5-')).row, 'anchor');
  });

  test('auto: what a target answers is learnt, where this node has no files', () => {
    const it = new Case({ mechanism: 'auto', here: false });
    const { site, dispatcher } = it;
    const row = () => {
      it.dispatch(dispatcher);
      return ROW_OF[it.link.last(FrameType.SETUP).mechanism];
    };
    assert.equal(row(), 'anchor');
    dispatcher.answered(site, it.asked.head, 500);
    assert.equal(row(), 'relay');
    const { chosen, learntPaths, meanBytes } = dispatcher.auto.status();
    assert.deepEqual(chosen, { relay: 1, anchor: 1, clone: 0 });
    assert.deepEqual([learntPaths, meanBytes], [1, { site: 500 }]);
    for (let i = 0; i < 20; i++) dispatcher.answered(site, it.asked.head, 1e6);
    assert.equal(row(), 'anchor');
  });

  test('auto: a target hears what the rows were estimated at, when the client is to be told, and no other', () => {
    const estimates = (given: Partial<Given>) => {
      const it = new Case({ mechanism: 'auto', bytes: 1e6, here: false, ...given });
      const { dispatcher } = it;
      it.dispatch(dispatcher);
      const [{ estimates: explained }] = dispatcher.auto.explain(it.site, it.asked.head, B).cases.slice(1);
      const all = Object.fromEntries(explained.map(({ row, us }) => [row, us]));
      return { told: it.link.last(FrameType.SETUP).estimates, all };
    };
    // What was estimated for anchor goes with relay in its place when there is no half-pipe.
    for (const given of [{ bytes: 1000 }, { bytes: 1e6 }, { bytes: 1e6, halfPipes: 0 }]) {
      const { told, all } = estimates({ ...given, told: true });
      assert.deepEqual(told, all);
      assert.ok(told!.relay! > 0);
      assert.equal(told!.clone, null, 'the connection goes on');
    }
    assert.equal(estimates({ told: false }).told, null);
    assert.equal(estimates({ told: true, mechanism: 'anchor' }).told, null, 'nothing was estimated');
  });

  test('boost: to the origin, whatever the policy says; without it, by relay to another server, else not at all', () => {
    assert.equal(row({ mechanism: 'anchor', node: A, origin: B }), 'boost');
    assert.equal(row({ mechanism: 'migrate', origin: B, bodyFollows: true }), 'boost');
    assert.equal(row({ mechanism: 'anchor', node: B, origin: A, tried: [A] }), 'relay');
    assert.equal(
      row({ mechanism: 'local', node: B, origin: -1 }),
      'relay',
      'its client had left, or has not',
    );
    assert.equal(row({ mechanism: 'anchor', origin: B, up: false }), 'local');
    assert.equal(row({ mechanism: 'anchor', origin: B, tried: [B, A] }), 'local');
    assert.equal(
      row({ mechanism: 'anchor', origin: B, limited: true }),
      'local',
      'the origin does not see it',
    );
    const again = { mechanism: 'anchor', node: A, origin: B, tried: [A], limited: true } as const;
    assert.equal(row(again), 'boost', 'a request counts once');
  });

  test('a node that has failed the request is not asked again, this one is when it is the last', () => {
    assert.equal(row({ mechanism: 'anchor', node: A, tried: [B] }), 'local');
    const it = new Case({ mechanism: 'anchor', tried: [A] });
    it.inProgress.fullyTried = true;
    assert.equal(it.row, 'local');
  });
});
