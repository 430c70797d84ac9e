/** The access log of a cluster: no client leaves without a line, however it goes. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Leaving } from './leaving-client.ts';
import { KIB, MIB, Stand } from './support.ts';

const CLIENT = fileURLToPath(new URL('./leaving-client.js', import.meta.url));
const MECHANISMS = ['local', 'relay', 'anchor', 'clone', 'split', 'migrate'] as const;
const BIG = 10 * MIB;
const BODY_BYTES = 1000;

describe('the access log', { ...skipUnlessRoot(), timeout: 100_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-access-'));
  const path = join(directory, 'access.log');
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 't8acc',
      nodes: 2,
      sizes: [KIB, BIG],
      rate: '50mbit',
      set: [
        `observe.accessLog=${path}`,
        'observe.accessFields=["userAgent","site"]',
        `limits.bodyBytes=${BODY_BYTES}`,
      ],
    });
  });
  after(() => {
    stand?.down();
    rmSync(directory, { recursive: true });
  });

  /** Lines by client; every node writes to the same file. */
  function lines(): Map<string, Array<Record<string, unknown>>> {
    const found = new Map<string, Array<Record<string, unknown>>>();
    for (const text of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
      const line = JSON.parse(text);
      found.set(line.client, [...(found.get(line.client) ?? []), line]);
    }
    return found;
  }

  async function linesOf(address: string, requests: readonly string[]) {
    const job: Leaving = { address, requests };
    const argv = [process.execPath, CLIENT, JSON.stringify(job)];
    const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, stderr);
    const clients: string[] = JSON.parse(stdout);
    assert.equal(clients.length, requests.length);
    await stand.until('every client has its line', async () => {
      const found = lines();
      return clients.every((client) => found.has(client));
    });
    const found = lines();
    return clients.map((client) => found.get(client)!);
  }

  const get = (host: string, size: number) =>
    `GET /${size}.bin HTTP/1.1\r\nHost: ${host}.test\r\nUser-Agent: leaving\r\n\r\n`;

  for (const address of ['10.77.0.101', 'fd77::101'])
    test(`${address}: clients that reset after the first bytes, by every mechanism`, async () => {
      // Twice: one is answered by each node.
      const asked = MECHANISMS.flatMap((mechanism) =>
        [KIB, BIG].flatMap((size) => [0, 1].map(() => ({ mechanism, size }))),
      );
      const all = await linesOf(
        address,
        asked.map(({ mechanism, size }) => get(mechanism, size)),
      );
      asked.forEach(({ mechanism, size }, i) => {
        const what = `${mechanism} ${size} ${JSON.stringify(all[i])}`;
        assert.equal(all[i].length, 1, what);
        const [line] = all[i];
        assert.ok((line.bytes as number) > 0, what);
        assert.deepEqual(
          [line.target, line.site, line.userAgent],
          [`/${size}.bin`, mechanism, 'leaving'],
          what,
        );
        if (size === BIG) {
          assert.equal(line.complete, false, what);
          assert.ok((line.bytes as number) < BIG, what);
        } else assert.equal(line.status ?? 200, 200, what);
      });
    });

  test('a restart warns of nothing in the process log, and no line of that has a key twice', async () => {
    await stand.terminate('b');
    await stand.start('b');
    await stand.until('the links are up', async () => {
      const { engines } = await stand.lab.admin('a', '/api/status');
      return engines[0].links.every(({ up }: { up: boolean }) => up);
    });
    for (const node of ['a', 'b']) {
      const log = readFileSync(join(stand.lab.plan.directory, `${node}.log`), 'utf8');
      const records = log.split('\n').filter((line) => line.startsWith('{'));
      assert.ok(records.length > 2, log);
      for (const text of records) {
        const keys = [...text.matchAll(/[{,]"(\w+)":/g)].map(([, key]) => key);
        assert.equal(new Set(keys).size, keys.length, text);
        assert.equal(JSON.parse(text).level, 'info', text);
      }
    }
  });

  test('requests that are refused', async () => {
    const refused: Array<[status: number, target: string | null, request: string]> = [
      [400, null, 'GARBAGE\r\n\r\n'],
      [431, null, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
      [413, '/up', `POST /up HTTP/1.1\r\nHost: local.test\r\nContent-Length: ${BODY_BYTES + 1}\r\n\r\n`],
    ];
    const all = await linesOf(
      '10.77.0.101',
      refused.map(([, , request]) => request),
    );
    assert.deepEqual(
      all.map(([line, ...more]) => [line.status, line.target, more.length]),
      refused.map(([status, target]) => [status, target, 0]),
    );
  });
});
