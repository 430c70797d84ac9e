/**
 * What every row of the mechanism table keeps to, whichever it is: run over all of them, so a new row is tested by being
 * there. Sockets, routers and network are models; what real kernels make of each row is in test/whole.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MECHANISM_ROWS, type MechanismRow } from '../../../src/base/config/config.ts';
import { moves } from '../../../src/handoff/mechanism/moves.ts';
import { MECHANISM_TABLE } from '../../../src/handoff/mechanism/table.ts';
import { B, Cluster } from './cluster.ts';
import type { Course } from './course.ts';
import type { Asked } from './site.ts';

const SEEDS = [1, 2, 3];
const LARGE = 40_000;

function asked(mechanism: MechanismRow, sizes: readonly number[]): Asked[] {
  return sizes.map((bytes, index) => ({ index, bytes, node: B, mechanism, isSlow: false }));
}

/** As `course`, and every response is there as a whole. */
function run(row: MechanismRow, sizes: readonly number[], changes: Partial<Course> = {}): Cluster[] {
  const clusters = course(row, sizes, changes);
  for (const cluster of clusters) assertAnswered(cluster);
  return clusters;
}

/** One client that asks node b for responses of these sizes, one after the other; then nothing is left of it. */
function course(row: MechanismRow, sizes: readonly number[], changes: Partial<Course> = {}): Cluster[] {
  return SEEDS.map((seed) => {
    const requests = asked(row, sizes);
    const usual = { seed, clients: 1, requestsOf: () => requests, hasPauses: false, canMove: false };
    const cluster = new Cluster({ ...usual, cutsPerMillion: 0, killsPerMillion: 0, ...changes });
    try {
      cluster.run();
    } catch (error) {
      throw new Error(`${row}, seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    return cluster;
  });
}

/** Every response is there as a whole. */
function assertAnswered({ sessions: [{ client, answered, requests }] }: Cluster): void {
  assert.equal(client.isReset, false, 'the connection goes on');
  assert.equal(answered, requests.length);
}

/** The row that answers where the connection cannot move, and node a has the documents, too; or where it has moved to. */
function rowInUse(row: MechanismRow): MechanismRow {
  return moves(row) ? 'local' : row;
}

for (const row of MECHANISM_ROWS) {
  const { otherwise, next, endBy, closes } = MECHANISM_TABLE[row];
  const takesNext = next !== 'never';
  const sizes = takesNext ? [0, 100, LARGE] : [LARGE];

  describe(`mechanism ${row}`, () => {
    test('empty, small and large responses, whole and in order, by the row that was asked for', () => {
      for (const one of takesNext ? [sizes] : [[0], [100], [LARGE]])
        for (const { nodes } of run(row, one))
          assert.deepEqual(
            nodes[0].results.map(({ mechanism }) => mechanism),
            one.map(() => rowInUse(row)),
          );
    });

    test('the end is learnt as the table says', () => {
      const early = run(row, [LARGE]).filter(({ nodes }) => nodes[0].results[0].have < LARGE).length;
      if (endBy === 'announcement, then acknowledgement' && closes === 'anchor') assert.equal(early, 0);
      else assert.ok(early > 0, 'not before the client has everything');
    });

    test('a connection goes on behind the response, or ends with it', () => {
      for (const { nodes } of run(row, takesNext ? [100, 100] : [100]))
        assert.deepEqual(
          nodes[0].results.map(({ close }) => close),
          takesNext ? [false, false] : [true],
        );
    });

    test('what cannot be had is answered by another row: no link to the node', () => {
      assert.ok(otherwise !== null || row === 'local', 'local is the last one');
      for (const { nodes } of run(row, sizes, { prepare: (cluster) => cluster.isolate(B) }))
        assert.ok(nodes[0].results.every(({ node }) => node !== B));
    });

    test('what cannot be had is answered by another row: the router’s table is full', () => {
      const prepare = ({ nodes }: Cluster) => nodes[0].table.take(nodes[0].table.free);
      const release = ({ nodes }: Cluster) => nodes[0].table.giveBack();
      const isFlow = MECHANISM_TABLE[row].outHalf === 'target';
      for (const { nodes } of run(row, [100], { prepare, release }))
        assert.equal(nodes[0].results[0].mechanism, isFlow ? 'local' : rowInUse(row));
    });

    test('the node is lost before its first byte: the client gets the whole response from another', () => {
      const killsWhen = ({ sessions: [{ asked: count, client }] }: Cluster) => count > 0 && client.have === 0;
      for (const { nodes } of run(row, [LARGE], { killsWhen }))
        assert.notEqual(nodes[0].results.at(-1)?.node, B);
    });

    test('the node is lost in the middle of its response: the client gets the rest, or nothing more', () => {
      const killsWhen = ({ sessions: [{ client }] }: Cluster) => client.have > LARGE / 2;
      for (const cluster of course(row, [LARGE], { killsWhen })) {
        const [{ client, answered }] = cluster.sessions;
        // Whoever sends the response itself has it only as far as it came; split has closed the connection by then.
        const mayEnd = row === 'relay' || row === 'boost' || closes === 'anchor, with the response';
        assert.ok(answered === 1 || mayEnd, `${client.have} bytes`);
      }
    });
  });
  if (!moves(row)) continue;
  describe(`mechanism ${row}, where connections move`, () => {
    const canMove = true;

    test('the connection moves with its first request, and stays where that is answered', () => {
      for (const { nodes } of run(row, sizes, { canMove })) {
        assert.equal(nodes[0].results.length, 0);
        assert.equal(nodes[1].results.length, sizes.length);
        assert.equal(nodes[1].counters.get('migrations_in'), 1);
      }
    });

    test('no link to the node, or no room at it: it stays, and is answered here', () => {
      const isolated = { canMove, prepare: (cluster: Cluster) => cluster.isolate(B) };
      const full = {
        canMove,
        prepare: ({ nodes }: Cluster) => nodes[B].table.take(nodes[B].table.free),
        release: ({ nodes }: Cluster) => nodes[B].table.giveBack(),
      };
      for (const changes of [isolated, full])
        for (const { nodes } of run(row, sizes, changes)) assert.equal(nodes[0].results.length, sizes.length);
    });

    test('the node is lost while the connection is on its way: nothing is lost, or nobody has it', () => {
      const killsWhen = ({ nodes }: Cluster) => nodes[0].counters.get('migrations_sent') > 0;
      for (const { sessions } of course(row, sizes, { canMove, killsWhen }))
        for (const { client, answered } of sessions)
          assert.ok(answered === sizes.length || client.isReset, `${answered} answered`);
    });
  });
}
