/** The results of `against-proxies`: how parts are put together, and what the document and the drawing have of them. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { drawProxies } from '../../bench/lib/proxy-plot.ts';
import {
  addResults,
  betterProxy,
  type Figures,
  type Point,
  type ProxyResults,
  readResults,
} from '../../bench/lib/proxy-results.ts';
import { proxyTable, withTable } from '../../bench/lib/proxy-table.ts';

const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'baton-figures-'));
after(() => rmSync(directory, { recursive: true }));

function figures(us: number): Figures {
  const percentiles = { p50: 10 * us, p99: 100 * us, p999: 200 * us };
  const ones = { machineUs: us, anchorUs: us / 2, targetUs: us / 4, requestsPerSecond: 1e6 / us };
  return { us, ...ones, wrkUs: percentiles, timedUs: percentiles };
}

const point = (kind: Point['kind'], bytes: number, us: number): Point => ({
  kind,
  size: `${bytes}b`,
  bytes,
  rounds: 3,
  seconds: 1,
  systems: {
    auto: figures(us),
    relay: figures(2 * us),
    anchor: figures(us),
    haproxy: figures(4 * us),
    nginx: figures(5 * us),
  },
});

const results = (...points: Point[]): ProxyResults => ({
  machine: 'two & a half',
  versions: { haproxy: '2', nginx: '1', wrk: '4', baton: 'abc' },
  date: '2026-01-01',
  points,
});

test('parts are put together in order, and one that is measured again takes its place', () => {
  const file = join(directory, 'results.json');
  addResults(file, results(point('new', 1024, 50)));
  addResults(file, results(point('kept', 1024, 30)));
  addResults(file, results(point('kept', 0, 20)));
  addResults(file, results(point('new', 1024, 60)));
  assert.deepEqual(
    readResults(file).points.map(({ kind, bytes, systems }) => [kind, bytes, systems.auto!.us]),
    [
      ['kept', 0, 20],
      ['kept', 1024, 30],
      ['new', 1024, 60],
    ],
  );
});

test('the better proxy is the better in what is asked', () => {
  const { systems } = point('kept', 0, 1);
  assert.equal(
    betterProxy({ systems }, ({ us }) => us),
    4,
  );
  assert.equal(
    betterProxy({ systems }, ({ requestsPerSecond }) => requestsPerSecond),
    2e5,
  );
  assert.equal(
    betterProxy({ systems: { auto: systems.auto! } }, ({ us }) => us),
    null,
  );
});

test('a line of the table has every system, and the ratios', () => {
  const [heading, , line] = proxyTable(results(point('kept', 16 * 1024, 30))).split('\n');
  assert.equal(
    heading,
    '| connections, size | auto | relay | anchor | haproxy | nginx | auto / better proxy | auto / best row |',
  );
  assert.equal(
    line,
    '| kept, 16 KB | 30 (3.0, 3.0) | 60 (6.0, 6.0) | 30 (3.0, 3.0) | 120 (12, 12) | 150 (15, 15) | 0.25 | 1.00 |',
  );
});

test('the drawing is well-formed, with a panel for each kind and a line for each system', () => {
  const svg = drawProxies(results(point('kept', 0, 20), point('kept', 1024, 30), point('new', 0, 90)));
  assert.equal(svg.match(/<path /g)?.length, 2 * 5);
  assert.ok(svg.includes('two &#38; a half') && !/NaN|undefined|Infinity/.test(svg));
  for (const name of ['kept connections', 'new connections', 'HAProxy', 'auto'])
    assert.ok(svg.includes(name), name);
});

test('docs/figures.md and the drawing are those of the results beside them', () => {
  const kept = readResults(join(DOCS, 'figures/against-proxies.json'));
  const document = readFileSync(join(DOCS, 'figures.md'), 'utf8');
  assert.equal(withTable(document, proxyTable(kept)), document, 'npm run figures');
  assert.equal(
    readFileSync(join(DOCS, 'figures/against-proxies.svg'), 'utf8'),
    drawProxies(kept),
    'npm run figures',
  );
});

test('other clusters have lines of their own, behind the usual ones, and are not drawn', () => {
  const file = join(directory, 'clusters.json');
  const usual = point('kept', 1024, 30);
  addResults(file, results({ ...usual, nodes: 4, behind: 'node:http' }));
  addResults(file, results({ ...usual, nodes: 4 }));
  addResults(file, results(usual));
  const table = proxyTable(readResults(file));
  const labels = table.split('\n').map((line) => line.split(' | ')[0]);
  assert.deepEqual(labels.slice(2), [
    '| kept, 1 KB',
    '| kept, 1 KB, 4 nodes',
    '| kept, 1 KB, 4 nodes, node:http behind',
  ]);
  const alone = results(usual);
  assert.equal(drawProxies({ ...readResults(file) }), drawProxies(alone));
});

test('what was measured by the clock has a table of its own', () => {
  const usual = point('kept', 1024, 30);
  const paced = (us: number): Figures => {
    const pacedUs = { p50: us, p99: 10 * us, p999: 20 * us };
    return { ...figures(us), pacedUs, pacedFromDueUs: { p50: us, p99: 30 * us, p999: 40 * us } };
  };
  const systems = { auto: paced(50), haproxy: paced(100), nginx: paced(200) };
  const table = proxyTable(
    results(usual, { ...usual, size: '2k', bytes: 2048, pacedPerSecond: 12_345, systems }),
  );
  const [, , second] = table.split('\n\n');
  const [heading, , line, ...more] = second.split('\n');
  assert.match(heading, /requests\/s \| auto \|/);
  assert.equal(
    line,
    '| kept, 2 KB | 12,345 | 0.5, 1.0 (1.5, 2.0) |  |  | 1.0, 2.0 (3.0, 4.0) | 2.0, 4.0 (6.0, 8.0) | 0.50 |',
  );
  assert.deepEqual(more, [], 'what was not measured so is not there');
});
