/** Clone's option `keep`: what two nodes find of the same request, and by what they know that it is the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterConfig, PolicyConfig, SiteConfig } from '../../../src/base/config/config.ts';
import { Outages } from '../../../src/cluster/outages.ts';
import { Hash } from '../../../src/cluster/policy/hash.ts';
import type { Policy } from '../../../src/cluster/policy/policy.ts';
import { RepeatableChoices } from '../../../src/cluster/policy/repeatable-choice.ts';
import { parseRequestHead, type RequestHead } from '../../../src/protocol/http/request.ts';
import type { Site } from '../../../src/serve/sites.ts';

const LIMITS = { headBytes: 4096, targetBytes: 2048, fields: 50 };

function head(text: string): RequestHead {
  const bytes = Buffer.from(text.replaceAll('\n', '\r\n'));
  const parsed = parseRequestHead(bytes, 0, bytes.length, LIMITS, 0);
  assert.ok(parsed !== null && 'method' in parsed, text);
  return parsed;
}

/** A node's view of a site that keeps clones. */
function view(names: readonly string[], self: number, change: { policy?: PolicyConfig; made?: Policy } = {}) {
  const policy = change.policy ?? 'hash';
  const made = change.made ?? new Hash();
  const base = { name: 's', hosts: ['s.test'], content: {}, mechanism: 'clone', catalogue: false };
  const rest = { bodyBytes: 0, types: {}, tls: null, cache: null, clone: { pre: false, keep: true } };
  const config = { ...base, ...rest, policy } as SiteConfig;
  const candidates = names.map((name, index) => ({ name, index, load: undefined as never }));
  const site: Site = {
    config,
    digest: 1,
    content: null,
    upstream: null,
    cache: null,
    candidates,
    outages: new Outages(),
  };
  const choices = new RepeatableChoices({
    config: { limits: { headBytes: 4096, headFields: 50 }, sites: [config] } as unknown as ClusterConfig,
    self,
    sites: { find: (host) => (host === 's.test' ? site : null) },
    policies: { of: () => made, configOf: () => policy },
  });
  return { choices, site };
}

test('two nodes with the same view find the same, whoever asks', () => {
  const a = view(['a', 'b', 'c'], 0);
  const b = view(['a', 'b', 'c'], 1);
  const [of, at] = [a.choices.of(a.site)!, b.choices.of(b.site)!];
  assert.equal(of.digest, at.digest);
  const nodes = new Set<number>();
  for (let i = 0; i < 200; i++) {
    const request = head(`GET /${i} HTTP/1.1\nHost: s.test\n\n`);
    assert.equal(of.nodeFor(request), at.nodeFor(request));
    nodes.add(of.nodeFor(request));
  }
  assert.deepEqual([...nodes].sort(), [0, 1, 2]);
});

test('another view has another digest: nodes, policy', () => {
  const digest = ({ choices, site }: ReturnType<typeof view>) => choices.of(site)!.digest;
  const all = [
    view(['a', 'b', 'c'], 0),
    view(['a', 'b'], 0),
    view(['a', 'c'], 0),
    view(['a', 'b', 'c'], 0, { policy: { kind: 'class', rules: [], fallback: 'hash' } }),
  ].map(digest);
  assert.equal(new Set(all).size, all.length);
});

test('it is renewed when nodes come or go, and when the policy changes', () => {
  const { choices, site } = view(['a', 'b', 'c'], 0);
  const first = choices.of(site)!;
  assert.equal(choices.of(site), first);
  site.candidates = site.candidates.slice(1);
  assert.notEqual(choices.of(site)!.digest, first.digest);
  site.candidates = [];
  assert.equal(choices.of(site), null, 'nobody can answer');
});

for (const text of [
  'POST /1 HTTP/1.1\nHost: s.test\nContent-Length: 3\n\n',
  'GET /1 HTTP/1.1\nHost: s.test\nContent-Length: 3\n\n',
  'GET /1 HTTP/1.1\nHost: s.test\nTransfer-Encoding: chunked\n\n',
  'GET /1 HTTP/1.1\nHost: s.test\nConnection: close\n\n',
  'GET /1 HTTP/1.1\nHost: s.test\nContent-Length: 1\nExpect: 100-continue\n\n',
  'GET /1 HTTP/1.0\nHost: s.test\nConnection: keep-alive\n\n',
  'OPTIONS /1 HTTP/1.1\nHost: s.test\n\n',
  'GET /1 HTTP/1.1\nHost: other.test\n\n',
]) {
  test(`nobody takes it: ${JSON.stringify(text)}`, () => {
    const { choices, site } = view(['a'], 0);
    assert.equal(choices.of(site)!.nodeFor(head(text)), -1);
  });
}

test('a choice of another mechanism is no clone', () => {
  const request = head('HEAD /1 HTTP/1.1\nHost: s.test\n\n');
  for (const [mechanism, node] of [
    ['clone', 1],
    ['anchor', -1],
  ] as const) {
    const { choices, site } = view(['a', 'b'], 0, { made: { choose: () => ({ node: 1, mechanism }) } });
    assert.equal(choices.of(site)!.nodeFor(request), node);
  }
});
