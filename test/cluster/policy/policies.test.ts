import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ClassRule } from '../../../src/base/config/config.ts';
import { LoadTable } from '../../../src/cluster/load.ts';
import { ClassPolicy } from '../../../src/cluster/policy/class.ts';
import { globToRegExp } from '../../../src/cluster/policy/glob.ts';
import { GuardedPolicy } from '../../../src/cluster/policy/guarded.ts';
import { LeastLoad } from '../../../src/cluster/policy/least-load.ts';
import { Local } from '../../../src/cluster/policy/local.ts';
import type { Candidate, Policy } from '../../../src/cluster/policy/policy.ts';
import { Popularity, WINDOW_REQUESTS } from '../../../src/cluster/policy/popularity.ts';
import { parseRequestHead, type RequestHead } from '../../../src/protocol/http/request.ts';

function get(path: string): RequestHead {
  const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const head = parseRequestHead(bytes, 0, bytes.length, {
    headBytes: 16384,
    targetBytes: 8192,
    fields: 100,
  });
  assert.ok(head !== null && 'path' in head, path);
  return head;
}

/** Candidates a, b, c, ... with these loads. */
function candidates(...permille: number[]): Candidate[] {
  const table = new LoadTable(permille.length, 1000);
  return permille.map((cpuPermille, index) => {
    const load = { connections: 0, cpuPermille, requestsPerSecond: 0, acceptQueue: 0, accepting: true };
    table.report(index, 0, load, 0);
    return { index, name: String.fromCharCode(97 + index), load: table.of(index) };
  });
}

const rule = (fields: Partial<ClassRule> & { nodes: string[] }): ClassRule => ({
  path: null,
  regex: null,
  minBytes: null,
  maxBytes: null,
  popularPermille: null,
  mechanism: null,
  ...fields,
});

describe('least-load', () => {
  it('gives each node requests in proportion to what it has left', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(990), { minLength: 1, maxLength: 8 }), (loads) => {
        const policy = new LeastLoad();
        const all = candidates(...loads);
        const turns = 5000;
        const counts = loads.map(() => 0);
        for (let i = 0; i < turns; i++) counts[policy.choose(get('/'), all)]++;
        const left = loads.map((load) => 1000 - load);
        const sum = left.reduce((x, y) => x + y);
        counts.forEach((count, i) => {
          assert.ok(Math.abs(count - (turns * left[i]) / sum) <= loads.length, `${counts} for ${loads}`);
        });
      }),
      { numRuns: 40 },
    );
  });

  it('serves when every node is full, and goes on when nodes come and go', () => {
    const policy = new LeastLoad();
    const all = candidates(1000, 1000, 1000);
    const seen = new Set(Array.from({ length: 9 }, () => policy.choose(get('/'), all)));
    assert.deepEqual([...seen].sort(), [0, 1, 2]);
    assert.equal(policy.choose(get('/'), [all[2]]), 2);
  });
});

describe('class', () => {
  const sizes: Record<string, number> = { '/small': 100, '/large': 1_000_000 };
  const make = (...rules: ClassRule[]) =>
    new ClassPolicy(rules, new Local(), (head) => sizes[head.path] ?? null);

  it('goes by the first rule that matches, else by the fallback', () => {
    const policy = make(
      rule({ path: '/images/**', nodes: ['b'] }),
      rule({ regex: '\\.cgi$', nodes: ['c'], mechanism: 'relay' }),
      rule({ path: '/images/x.cgi', nodes: ['a'] }),
    );
    const all = candidates(0, 0, 0);
    assert.equal(policy.choose(get('/images/deep/x.png'), all, 0), 1);
    assert.equal(policy.choose(get('/images/x.cgi'), all, 0), 1);
    assert.deepEqual(policy.choose(get('/run.cgi'), all, 0), { node: 2, mechanism: 'relay' });
    assert.equal(policy.choose(get('/other'), all, 0), 0);
  });

  it('goes by size where the size is known', () => {
    const policy = make(
      rule({ maxBytes: 4096, nodes: ['b'] }),
      rule({ minBytes: 4097, maxBytes: 2_000_000, nodes: ['c'] }),
    );
    const all = candidates(0, 0, 0);
    assert.equal(policy.choose(get('/small'), all, 0), 1);
    assert.equal(policy.choose(get('/large'), all, 0), 2);
    assert.equal(policy.choose(get('/unknown'), all, 0), 0);
  });

  it('goes by popularity', () => {
    const policy = make(rule({ popularPermille: 100, nodes: ['b'] }));
    const all = candidates(0, 0, 0);
    for (let i = 0; i < 2000; i++) policy.choose(get(i % 4 === 0 ? '/hit' : `/rare/${i}`), all, 0);
    assert.equal(policy.choose(get('/hit'), all, 0), 1);
    assert.equal(policy.choose(get('/rare/1'), all, 0), 0);
  });

  it('passes a rule over whose nodes are not there; keeps a path on one of several nodes', () => {
    const policy = make(rule({ path: '/**', nodes: ['b', 'c'] }), rule({ path: '/**', nodes: ['d'] }));
    const all = candidates(0, 0, 0, 0);
    const chosen = new Map<string, number>();
    for (let i = 0; i < 200; i++) chosen.set(`/${i}`, policy.choose(get(`/${i}`), all, 0) as number);
    assert.deepEqual([...new Set(chosen.values())].sort(), [1, 2]);
    for (const [path, node] of chosen) assert.equal(policy.choose(get(path), all, 0), node);
    assert.equal(policy.choose(get('/1'), [all[0], all[3]], 0), 3);
    assert.equal(policy.choose(get('/1'), [all[0]], 0), 0);
  });
});

describe('popularity', () => {
  it('never takes a path for less popular than it is, and rarely for much more', () => {
    const popularity = new Popularity();
    const counts = new Map<string, number>();
    let total = 0;
    for (let i = 0; total < WINDOW_REQUESTS - 1; i++) {
      for (const path of [`/${i}`, `/${i % 100}`, '/hit']) {
        if (total === WINDOW_REQUESTS - 1) break;
        total++;
        const count = (counts.get(path) ?? 0) + 1;
        counts.set(path, count);
        const share = popularity.count(path);
        if (total < 100) continue;
        const exact = (1000 * count) / total;
        assert.ok(share >= exact - 1e-9 && share <= exact + 5, `${path}: ${share} for ${exact}`);
      }
    }
  });

  it('forgets', () => {
    const popularity = new Popularity();
    for (let i = 0; i < WINDOW_REQUESTS; i++) popularity.count('/old');
    for (let i = 0; i < 4 * WINDOW_REQUESTS; i++) popularity.count(`/new/${i}`);
    assert.ok(popularity.count('/old') < 100);
  });
});

describe('path patterns', () => {
  it('match whole paths, * within a segment, ** across', () => {
    const rows: [string, string, boolean][] = [
      ['/a/*.png', '/a/x.png', true],
      ['/a/*.png', '/a/b/x.png', false],
      ['/a/**', '/a/b/x.png', true],
      ['/a/**', '/ab', false],
      ['**.html', '/x/y.html', true],
      ['/?', '/x', true],
      ['/?', '//', false],
      ['/a.b', '/axb', false],
      ['/a+(b)[c]{d}|^$', '/a+(b)[c]{d}|^$', true],
    ];
    for (const [glob, path, matches] of rows) assert.equal(globToRegExp(glob).test(path), matches, glob);
  });

  it('without wildcards match themselves alone', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), fc.string({ maxLength: 30 }), (text, other) => {
        fc.pre(!/[*?]/.test(text));
        assert.ok(globToRegExp(text).test(text));
        assert.equal(globToRegExp(text).test(other), text === other);
      }),
    );
  });
});

describe('a policy of somebody else', () => {
  const all = candidates(0, 0, 0);
  const guarded = (choose: () => unknown): [GuardedPolicy, string[]] => {
    const reasons: string[] = [];
    return [new GuardedPolicy({ choose } as Policy, (reason) => reasons.push(reason)), reasons];
  };

  it('is believed when it answers with a candidate', () => {
    const [policy, reasons] = guarded(() => 2);
    assert.equal(policy.choose(get('/'), all, 0), 2);
    const choice = { node: 1, mechanism: 'relay' };
    const [other] = guarded(() => choice);
    assert.equal(other.choose(get('/'), all, 0), choice);
    assert.deepEqual(reasons, []);
  });

  it('is replaced by local, and the reason told, when it throws or answers nonsense', () => {
    const rows: [() => unknown, RegExp][] = [
      [
        () => {
          throw new Error('no such user');
        },
        /no such user/,
      ],
      [() => undefined, /returned undefined/],
      [() => null, /returned null/],
      [() => Promise.resolve(1), /node undefined/],
      [() => 3, /node 3, which is no candidate/],
      [() => Number.NaN, /node NaN/],
      [() => ({ node: 1, mechanism: 'teleport' }), /mechanism teleport/],
      [() => ({ node: 1 }), /mechanism undefined/],
      [() => ({ node: 1, mechanism: 'local' }), /local for node 1/],
    ];
    for (const [choose, reason] of rows) {
      const [policy, reasons] = guarded(choose);
      assert.equal(policy.choose(get('/'), all, 0), 0);
      assert.equal(reasons.length, 1);
      assert.match(reasons[0], reason);
    }
  });
});
