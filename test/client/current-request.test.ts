/** The request in progress on a connection: from one who answers it to the next, until it is answered or cannot be. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COLLECTED_BODY_BYTES } from '../../src/client/request-body.ts';
import type { AnchorFlow } from '../../src/handoff/anchor/flow.ts';
import type { AnnouncedResponse } from '../../src/handoff/anchor/handoff.ts';
import type { RequestInProgress } from '../../src/handoff/mechanism/mechanism.ts';
import type { Continuation } from '../../src/protocol/http/continuation.ts';
import { START } from '../handoff/anchor/stand.ts';
import { B, C, ClientStand, DeliveryModel, get, LIMITS, post, site } from './stand.ts';

const ELSEWHERE = { node: B, mechanism: 'anchor' } as const;

function continuation(offset: number, lengthBytes = 1000): Continuation {
  return { offset, headBytes: 100, lengthBytes } as Continuation;
}

/** A GET that node b was given to answer. */
function given(text = get(), upstream = false): ClientStand {
  const stand = new ClientStand();
  stand.choice = ELSEWHERE;
  stand.site = site({ upstream });
  stand.connects(text);
  return stand;
}

describe('again', () => {
  test('by whoever is left, and at last by nobody else', () => {
    const stand = given();
    assert.ok(stand.delivery.host.servedWithout(B));
    assert.ok(stand.delivery.host.mayAskWithout(B));
    stand.delivery.host.again(B, 'refused');
    assert.deepEqual([stand.delivery.tried, stand.delivery.host.fullyTried], [[B], false]);
    stand.delivery.host.again(C, 'refused');
    assert.deepEqual([stand.delivery.tried, stand.delivery.host.fullyTried], [[B, C], true]);
    assert.equal(stand.delivery.host.mayAskWithout(B), false, 'this node is left, and answers by itself');
  });

  test('the next request is tried anew', () => {
    const stand = given(get('/1') + get('/2'));
    stand.delivery.host.again(B, 'refused');
    stand.delivery.finish();
    assert.deepEqual([stand.delivery.request.head.target, stand.delivery.tried], ['/2', []]);
  });

  test('what has come of a body is kept until somebody takes it, whoever has refused the request before', () => {
    const body = 'x'.repeat(COLLECTED_BODY_BYTES + 1000);
    const stand = new ClientStand();
    stand.choice = ELSEWHERE;
    stand.bodiesWait = true;
    const client = stand.connects(`${post(body.length + 10)}${body}`);
    const first = stand.delivery;
    assert.deepEqual([first.request.bodyFollows, first.pieces.length], [true, 0]);
    first.host.again(B, 'refused');
    assert.notEqual(stand.delivery, first);
    stand.delivery.wantsBody = true;
    stand.delivery.host.bodyWanted();
    client.sends('1234567890');
    assert.equal(first.pieces.length, 0);
    assert.equal(stand.delivery.bodyBytes.toString(), `${body}1234567890`);
    assert.ok(stand.delivery.hasBodyEnded);
  });

  test('what nobody has taken of a body goes with its request', () => {
    const body = 'x'.repeat(COLLECTED_BODY_BYTES + 1000);
    const stand = new ClientStand();
    stand.choice = ELSEWHERE;
    stand.bodiesWait = true;
    stand.connects(`${post(body.length)}${body}${post(body.length)}${body}`);
    const first = stand.delivery;
    first.finish();
    assert.notEqual(stand.delivery, first);
    stand.delivery.wantsBody = true;
    stand.delivery.host.bodyWanted();
    assert.equal(stand.delivery.bodyBytes.length, body.length);
  });

  test('an upstream has failed: counted, remembered of its site, and told on', () => {
    const stand = given(get(), true);
    stand.delivery.host.again(B, 'upstream failed');
    assert.ok(stand.delivery.request.upstreamFailed);
    assert.deepEqual(stand.log, ['failed 1']);
    assert.equal(stand.counters.get('upstream_elsewhere'), 1);
  });

  test('a target is lost that may have asked an upstream: only what may be repeated is', () => {
    for (const [text, upstream, repeats] of [
      [get(), true, true],
      [`${post(2)}xy`, true, false],
      [`${post(2)}xy`, false, true],
    ] as const) {
      const stand = given(text, upstream);
      stand.delivery.host.again(B, 'lost');
      assert.equal(stand.delivery.told[0], repeats ? 'start' : 'answer', `${text} ${upstream}`);
      assert.deepEqual(stand.delivery.tried, repeats ? [B] : []);
    }
  });

  test('a target that was asked too late is asked for the bytes, once, when nobody else could answer', () => {
    for (const [others, chosen, tried] of [
      [false, { node: B, mechanism: 'relay' }, []],
      [true, ELSEWHERE, [B]],
    ] as const) {
      const stand = new ClientStand();
      stand.choice = ELSEWHERE;
      const { candidates, ...rest } = site();
      stand.site = {
        ...rest,
        candidates: others ? candidates : candidates.filter(({ index }) => index === B),
      };
      stand.connects(get());
      assert.equal(stand.delivery.host.answeredWithout(B), others);
      stand.delivery.host.again(B, 'late');
      assert.deepEqual([stand.chosen, stand.delivery.tried], [chosen, tried]);
      stand.delivery.host.again(B, 'late');
      assert.deepEqual(stand.delivery.tried, [...tried, B], 'it fails as any other does');
    }
  });

  test('nobody else answers what must not be repeated, or when all have been tried that may be', () => {
    const posted = new ClientStand();
    posted.choice = ELSEWHERE;
    posted.site = site({ upstream: true });
    posted.connects(`${post(2)}xy`);
    assert.equal(posted.delivery.host.answeredWithout(B), false);
    const stand = given();
    stand.delivery.host.again(B, 'refused');
    assert.equal(stand.delivery.host.answeredWithout(C), true, 'this node');
  });

  test('what was answered, or has ended, is not served again', () => {
    const stand = given();
    const { host } = stand.delivery;
    stand.delivery.finish();
    host.again(B, 'refused');
    host.goOn(B, continuation(500));
    host.finished({} as never);
    assert.equal(stand.deliveries.length, 1);
    assert.equal(stand.records().length, 1);
  });
});

describe('goOn', () => {
  test('another node goes on from there', () => {
    const stand = given();
    stand.delivery.host.goOn(B, continuation(500));
    assert.equal(stand.delivery.request.continuation?.offset, 500);
    assert.deepEqual(stand.delivery.tried, [B]);
    stand.delivery.host.goOn(C, continuation(500));
    assert.deepEqual(stand.delivery.tried, [B, C], 'no further: both have failed');
    stand.delivery.host.goOn(0, continuation(600));
    assert.deepEqual(stand.delivery.tried, [0], 'further: the others may be back');
  });

  test('the record counts the whole response', () => {
    const stand = given();
    stand.delivery.host.goOn(B, continuation(500));
    stand.delivery.finish({ bytes: 600, bodyBytes: 600 });
    const [record] = stand.records();
    assert.deepEqual([record.bytes, record.bodyBytes], [1100, 1000]);
  });
});

describe('takeOver and settled', () => {
  test('who finds out what the client has takes the place of who failed', () => {
    const stand = given();
    const { host, request } = stand.delivery;
    const takeOver = new DeliveryModel(host, request, []);
    host.takeOver(takeOver);
    stand.only.takes(1);
    assert.deepEqual(takeOver.told, ['writable']);
    host.settled();
    assert.equal(stand.stateOf(stand.only), 'head');
    assert.deepEqual(
      stand.records().map(({ complete }) => complete),
      [true],
    );
  });

  test('nobody takes over what is answered', () => {
    const stand = given();
    const { host, request } = stand.delivery;
    stand.delivery.finish();
    const takeOver = new DeliveryModel(host, request, []);
    host.takeOver(takeOver);
    assert.deepEqual(takeOver.told, ['cancel']);
  });

  test('the last response of a connection ends it when it is settled', () => {
    const stand = given(get('/', 'Connection: close\r\n'));
    stand.delivery.host.settled();
    assert.deepEqual(stand.only.done, ['close']);
  });
});

describe('later', () => {
  test('nobody knows yet whether it can go on: asked again every 100 ms', () => {
    const stand = given();
    stand.delivery.host.goOn(B, continuation(500));
    stand.delivery.host.later();
    assert.equal(stand.deliveries.length, 2);
    stand.pass(100);
    assert.deepEqual([stand.deliveries.length, stand.delivery.tried], [3, [B]]);
    stand.delivery.finish();
    stand.pass(1000);
    assert.equal(stand.deliveries.length, 3);
  });

  test('not for ever', () => {
    const stand = given();
    stand.delivery.host.goOn(B, continuation(500));
    for (let ms = 0; ms <= LIMITS.stallSeconds * 1000; ms += 100) {
      stand.delivery.host.later();
      assert.deepEqual(stand.only.done, []);
      stand.pass(100);
    }
    stand.delivery.host.later();
    assert.deepEqual(stand.only.done, ['abort']);
  });

  test('what has come of it since counts, and may be all', () => {
    const stand = given();
    const flow = stand.delivery.host.ensureFlow();
    assert(flow !== null);
    let came = 300;
    flow.catchUp = () => came;
    stand.delivery.host.goOn(B, continuation(500));
    stand.delivery.host.later();
    stand.pass(100);
    assert.equal(stand.delivery.request.continuation?.offset, 800);
    stand.delivery.host.later();
    came = 200;
    stand.pass(100);
    assert.equal(stand.deliveries.length, 3);
    assert.equal(stand.stateOf(stand.only), 'head');
  });
});

describe('an announced response', () => {
  const announcedBy = (stand: ClientStand): AnnouncedResponse => ({
    node: B,
    start: START,
    offset: 0,
    end: START + 1000,
    identity: null,
    records: null,
    sentAtMs: stand.clock.nowMs,
    mechanism: 'anchor',
    status: 200,
    request: stand.delivery.request,
  });

  /** Node b has announced the response to a request, which counts as answered. */
  function resting(): { stand: ClientStand; flow: AnchorFlow; announced: AnnouncedResponse } {
    const stand = given();
    const flow = stand.delivery.host.ensureFlow();
    assert(flow !== null);
    assert.equal(stand.delivery.host.ensureFlow(), flow, 'one for the connection');
    const announced = announcedBy(stand);
    stand.delivery.finish({ node: B });
    return { stand, flow, announced };
  }

  test('its target is lost: it is in progress again', () => {
    const { stand, flow, announced } = resting();
    flow.onLost(announced);
    assert.equal(stand.stateOf(stand.only), 'busy');
    assert.equal(stand.counters.get('handoffs_lost'), 1);
    stand.only.sends(get('/next'));
    assert.equal(stand.deliveries.length, 1, 'the next waits');
  });

  test('not any more when the next request has been read', () => {
    const { stand, flow, announced } = resting();
    stand.only.sends(get('/next'));
    flow.onLost(announced);
    assert.deepEqual(stand.only.done, ['abort']);
  });

  test('nor when nothing is known of it', () => {
    const { stand, flow } = resting();
    flow.onLost(null);
    assert.deepEqual(stand.only.done, ['abort']);
  });

  test('its target stops: another goes on, when it could', () => {
    const { stand, flow, announced } = resting();
    flow.onDraining(announced);
    assert.equal(stand.stateOf(stand.only), 'head', 'its head is not out');
    const identity = { headBytes: 0 } as AnnouncedResponse['identity'];
    stand.site = null;
    flow.onDraining({ ...announced, identity });
    assert.equal(stand.stateOf(stand.only), 'busy');
  });

  test('its target stops while the next request is in progress: it goes on itself', () => {
    const { stand, flow, announced } = resting();
    stand.only.sends(get('/next'));
    flow.onDraining({ ...announced, identity: { headBytes: 0 } as AnnouncedResponse['identity'] });
    assert.deepEqual([stand.stateOf(stand.only), stand.delivery.told], ['busy', ['start']]);
  });

  test('there is no room in the router’s table', () => {
    const stand = given();
    stand.anchor.table.allocate = () => -1;
    assert.equal(stand.delivery.host.ensureFlow(), null);
    assert.equal(stand.delivery.host.flow, null);
  });
});

test('what mechanism auto learns: how large the response was, and that the connection is no new one', () => {
  const stand = given(get('/1') + get('/2'));
  const { standing } = stand.delivery.host as RequestInProgress;
  assert.deepEqual(standing, { answered: 0, overpaidUs: 0 });
  stand.delivery.finish({ bodyBytes: 700 });
  assert.equal(standing.answered, 1);
  assert.equal((stand.delivery.host as RequestInProgress).standing, standing);
  assert.deepEqual(stand.sizes, ['/1 700']);
});

test('an answered request is recorded', () => {
  const stand = given();
  stand.delivery.finish({ node: B, mechanism: 'anchor', status: 404, messages: { count: 4, bytes: 200 } });
  const [record] = stand.records();
  assert.deepEqual(
    [record.client, record.node, record.status, record.messages, record.mechanism, record.time],
    ['10.0.0.9:40010', 'b', 404, 4, 'anchor', new Date(stand.clock.wallMs).toISOString()],
  );
  assert.deepEqual(stand.log, ['answered 1 404']);
});
