/** The committed object belongs to its source, and layout.ts to both. */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import koffi from 'koffi';
import { viewOf } from '../../../src/kernel/linux/memory.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import { ROUTER_OBJECT } from '../../../src/kernel/router/router.ts';

const SOURCES = dirname(ROUTER_OBJECT);
const HEADER = readFileSync(join(SOURCES, 'router.h'), 'utf8');
const BTF_KIND_STRUCT = 4;
const BTF_TYPE_BYTES = 12;
const WORD_BITS = 32;

test('the object was built from the sources beside it', () => {
  const lines = readFileSync(join(SOURCES, 'router.bpf.sha256'), 'utf8').trim().split('\n');
  const included = readdirSync(join(SOURCES, 'bpf'))
    .sort()
    .map((name) => `bpf/${name}`);
  const stated = lines.map((line) => line.split(/\s+/));
  assert.deepEqual(
    stated.map(([, name]) => name),
    ['router.bpf.c', 'router.h', ...included, 'router.bpf.o'],
  );
  for (const [hash, name] of stated) {
    const actual = createHash('sha256')
      .update(readFileSync(join(SOURCES, name)))
      .digest('hex');
    assert.equal(actual, hash, `src/kernel/router/${name} changed: run scripts/build-router.sh`);
  }
});

function missing(): string | false {
  const clang = spawnSync('clang', ['--version'], { encoding: 'utf8' });
  const wanted = readFileSync(join(SOURCES, 'router.bpf.clang'), 'utf8').trim();
  if (clang.status !== 0) return 'no clang here; the hashes were compared';
  const version = clang.stdout.split('\n')[0];
  return version === wanted ? false : `the object was built by "${wanted}", here is "${version}"`;
}

test('compiling again gives the same bytes', { skip: missing() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-router-'));
  try {
    const again = join(directory, 'router.bpf.o');
    const script = join(SOURCES, '../../../scripts/build-router.sh');
    const built = spawnSync('bash', [script, again], { encoding: 'utf8' });
    assert.equal(built.status, 0, built.stderr);
    assert.ok(readFileSync(again).equals(readFileSync(ROUTER_OBJECT)));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** Opened by libbpf and not loaded: that needs no privilege. */
function openObject() {
  const lib = koffi.load('libbpf.so.1');
  const open = lib.func('intptr_t bpf_object__open_file(const char*, void*)') as (
    path: string,
    options: null,
  ) => number;
  const find = lib.func('intptr_t bpf_object__find_map_by_name(intptr_t, const char*)') as Find;
  const findType = lib.func('int btf__find_by_name_kind(intptr_t, const char*, uint32_t)') as (
    btf: number,
    name: string,
    kind: number,
  ) => number;
  const typeAt = lib.func('intptr_t btf__type_by_id(intptr_t, uint32_t)') as (
    btf: number,
    id: number,
  ) => number;
  const nameAt = lib.func('const char* btf__name_by_offset(intptr_t, uint32_t)') as (
    btf: number,
    offset: number,
  ) => string;
  const number = (signature: string) => lib.func(signature) as (handle: number) => number;
  const object = open(ROUTER_OBJECT, null);
  assert.notEqual(object, 0, ROUTER_OBJECT);
  const btf = number('intptr_t bpf_object__btf(intptr_t)')(object);
  const keySize = number('uint32_t bpf_map__key_size(intptr_t)');
  const valueSize = number('uint32_t bpf_map__value_size(intptr_t)');
  const maxEntries = number('uint32_t bpf_map__max_entries(intptr_t)');
  return {
    map(name: string) {
      const map = find(object, name);
      assert.notEqual(map, 0, name);
      return [keySize(map), valueSize(map), maxEntries(map)];
    },
    /** Size in bytes and each field's offset in bits (include/uapi/linux/btf.h: struct btf_type, btf_member). */
    struct(name: string) {
      const id = findType(btf, name, BTF_KIND_STRUCT);
      assert.ok(id > 0, `struct ${name}`);
      const address = typeAt(btf, id);
      const count = new DataView(viewOf(address, BTF_TYPE_BYTES)).getUint32(4, true) & 0xffff;
      const view = new DataView(viewOf(address, BTF_TYPE_BYTES * (1 + count)));
      const offsets: Record<string, number> = {};
      for (let i = 1; i <= count; i++)
        offsets[nameAt(btf, view.getUint32(i * BTF_TYPE_BYTES, true))] = view.getUint32(
          i * BTF_TYPE_BYTES + 8,
          true,
        );
      return { bytes: view.getUint32(8, true), offsets };
    },
    close: () => number('void bpf_object__close(intptr_t)')(object),
  };
}
type Find = (object: number, name: string) => number;

test('layout.ts states the sizes and offsets that the object has', () => {
  const object = openObject();
  try {
    const flowBytes = layout.FLOW_WORDS * 4;
    assert.deepEqual(object.map('slots').slice(0, 2), [layout.KEY_BYTES, 4]);
    assert.deepEqual(object.map('flows').slice(0, 2), [4, flowBytes]);
    assert.deepEqual(object.map('observed').slice(0, 2), [4, layout.OBSERVED_WORDS * 4]);
    assert.deepEqual(object.map('control'), [4, layout.CONTROL_BYTES, 1]);
    assert.deepEqual(object.map('publics').slice(0, 2), [16, 4]);
    assert.deepEqual(object.map('peers'), [4, 8, layout.MAX_PEERS]);
    assert.deepEqual(object.map('routes').slice(0, 2), [layout.KEY_BYTES, 4]);
    assert.deepEqual(object.map('spread').slice(0, 2), [layout.KEY_BYTES, 8]);
    assert.deepEqual(object.map('spread_table'), [4, layout.SPREAD_BYTES, 1]);
    assert.deepEqual(object.map('counters'), [4, 8, layout.COUNTERS.length]);
    assert.equal(object.map('events')[2], layout.MAX_ENGINES);
    assert.equal(object.map('parkings')[2], layout.MAX_ENGINES);

    const flow = object.struct('flow');
    assert.equal(flow.bytes, flowBytes);
    assert.deepEqual(flow.offsets, { active: 0, unused: WORD_BITS, copy: 2 * WORD_BITS });
    const rules = object.struct('flow_rules');
    assert.equal(rules.bytes, layout.RULES_WORDS * 4);
    // The words as src/kernel/router/flows.ts writes them.
    const words = [
      'role',
      'own_next',
      'in_local',
      'in_wire',
      'in_window',
      'in_tsecr',
      'congestion_window',
      'watch',
    ];
    words.push('epoch', 'stamp', 'lease_ns');
    words.forEach((name, word) => {
      assert.equal(rules.offsets[name], word * WORD_BITS, name);
    });
    const { count, client_scale, flags, engine } = rules.offsets;
    assert.deepEqual([count, client_scale, flags, engine], [8, 16, 24, 4 * WORD_BITS + 16]);
    assert.equal(rules.offsets.range, layout.RULES_RANGES * WORD_BITS);
    const range = object.struct('range');
    assert.equal(range.bytes, layout.RANGE_WORDS * 4);
    const tail = { owner: 128, open: 136, leased: 144, late: 152 };
    assert.deepEqual(range.offsets, { start: 0, end: 32, local: 64, stamp: 96, ...tail });
    const observed = object.struct('flow_observed').offsets;
    for (const [name, word] of Object.entries({
      ack: layout.OBSERVED_ACK,
      edge: layout.OBSERVED_EDGE,
      sent_next: layout.OBSERVED_SENT_NEXT,
      watched: layout.OBSERVED_WATCHED,
      segments: layout.OBSERVED_SEGMENTS,
      tsval: layout.OBSERVED_TSVAL,
      in_next: layout.OBSERVED_IN_NEXT,
      window: layout.OBSERVED_WINDOW,
      in_ack: layout.OBSERVED_IN_ACK,
      ended: layout.OBSERVED_ENDED,
      said_fin: layout.OBSERVED_SAID_FIN,
      path_mtu: layout.OBSERVED_PATH_MTU,
      held_ack: layout.OBSERVED_HELD_ACK,
      held_end: layout.OBSERVED_HELD_END,
    }))
      assert.equal(observed[name], word * WORD_BITS, name);
    const control = object.struct('control').offsets;
    assert.deepEqual([control.alive_until_ns, control.netns_cookie, control.address4], [0, 64, 128]);
    assert.equal(control.flags, layout.CONTROL_FLAGS * WORD_BITS);
    assert.equal(control.node_order, layout.CONTROL_NODE_ORDER * 8);
  } finally {
    object.close();
  }
});

test('layout.ts states the constants of router.h', () => {
  const { MAX_RANGES, MAX_PEERS, MAX_ENGINES, SPREAD_SIZE, SPREAD_BYTES } = layout;
  const { HALF_PIPE_MARK, REPLAY_MARK, MAX_FRAME_BYTES, MAX_LARGE_FRAME_BYTES } = layout;
  const frames = { MAX_FRAME_BYTES, MAX_LARGE_FRAME_BYTES };
  const marks = { HALF_PIPE_MARK, REPLAY_MARK };
  const sizes = { MAX_RANGES, MAX_PEERS, MAX_ENGINES, SPREAD_SIZE, SPREAD_BYTES, ...marks, ...frames };
  for (const [name, value] of Object.entries(sizes)) {
    const found = new RegExp(`#define ${name} (\\w+)`).exec(HEADER);
    assert.equal(Number(found?.[1]), value, name);
  }
  const counters = [...HEADER.matchAll(/COUNT_([A-Z_]+)/g)].map(([, name]) => name.toLowerCase());
  assert.deepEqual(counters, [...layout.COUNTERS]);
  const names = (text: string) => text.split(',').map((name) => name.trim());
  const [, publics] = /enum \{ (PUBLIC_[^}]+) \}/.exec(HEADER)!;
  assert.deepEqual(names(publics), ['PUBLIC_NONE', 'PUBLIC_OWN', 'PUBLIC_FOREIGN']);
  assert.deepEqual([layout.PUBLIC_OWN, layout.PUBLIC_FOREIGN], [1, 2]);
  const [, roles] = /enum \{ (ROLE_[^}]+) \}/.exec(HEADER)!;
  assert.deepEqual(names(roles), ['ROLE_NONE', 'ROLE_ANCHOR', 'ROLE_TARGET', 'ROLE_ARRIVING']);
  const { ROLE_NONE, ROLE_ANCHOR, ROLE_TARGET, ROLE_ARRIVING } = layout;
  assert.deepEqual([ROLE_NONE, ROLE_ANCHOR, ROLE_TARGET, ROLE_ARRIVING], [0, 1, 2, 3]);
  const [, owners] = /enum \{ (OWNER_[^}]+) \}/.exec(HEADER)!;
  assert.deepEqual(names(owners), ['OWNER_SELF = 0', 'OWNER_PARKED = 0x8000']);
  assert.deepEqual([layout.OWNER_SELF, layout.OWNER_PARKED], [0, 0x8000]);
  const [, control] = /enum \{ (CONTROL_[^}]+) \}/.exec(HEADER)!;
  assert.deepEqual(names(control), [
    'CONTROL_FRONT = 1',
    'CONTROL_SPREAD = 2',
    'CONTROL_ROUTES = 4',
    'CONTROL_ENDED = 8',
    'CONTROL_STOPS = 16',
  ]);
  const { CONTROL_FRONT, CONTROL_SPREAD, CONTROL_ROUTES, CONTROL_ENDED, CONTROL_STOPS } = layout;
  const bits = [CONTROL_FRONT, CONTROL_SPREAD, CONTROL_ROUTES, CONTROL_ENDED, CONTROL_STOPS];
  assert.deepEqual(bits, [1, 2, 4, 8, 16]);
  const [, flags] = /enum \{ (FLAG_[^}]+) \}/.exec(HEADER)!;
  assert.deepEqual(names(flags), ['FLAG_CLOSING = 1', 'FLAG_WATCH = 2', 'FLAG_WAKE = 4', 'FLAG_FOLLOW = 8']);
  const { FLAG_CLOSING, FLAG_WATCH, FLAG_WAKE, FLAG_FOLLOW } = layout;
  assert.deepEqual([FLAG_CLOSING, FLAG_WATCH, FLAG_WAKE, FLAG_FOLLOW], [1, 2, 4, 8]);
});
