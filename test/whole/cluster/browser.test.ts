/** Chromium loads a page with 100 images by each handoff, in the clear and with TLS: every byte right, and one connection answered by several nodes. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fillRamp } from '../../../src/tools/lab/ramp.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { Stand } from './support.ts';

const IMAGES = 100;
const PAGES = [
  { scheme: 'http', mechanism: 'anchor' },
  { scheme: 'http', mechanism: 'clone' },
  { scheme: 'http', mechanism: 'split' },
  { scheme: 'https', mechanism: 'anchor' },
] as const;
const BMP_HEADER_BYTES = 54;
const WAIT_MS = 60_000;
/** Six at a time, and some that were opened for nothing. */
const MAX_CONNECTIONS = 12;

/** Each image has another width, and with it another size: 1 KB to 300 KB. */
const widthOf = (index: number): number => 18 + 3 * index;

/** A square Windows bitmap, 24 bits a pixel, filled with a ramp. */
function bitmap(index: number): Buffer {
  const width = widthOf(index);
  const rowBytes = Math.ceil((3 * width) / 4) * 4;
  const pixels = Buffer.alloc(rowBytes * width);
  fillRamp(pixels, `/${index}.bmp`, pixels.length, 0);
  const header = Buffer.alloc(BMP_HEADER_BYTES);
  header.write('BM', 0, 'latin1');
  header.writeUInt32LE(BMP_HEADER_BYTES + pixels.length, 2);
  header.writeUInt32LE(BMP_HEADER_BYTES, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(width, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(24, 28);
  header.writeUInt32LE(pixels.length, 34);
  return Buffer.concat([header, pixels]);
}

/** By the hash of its public key, the browser knows the certificate for one that it is not to complain about. */
function publicKeyHash(file: string): string {
  const { publicKey } = new X509Certificate(readFileSync(file));
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64');
}

/**
 * When all images are there the page fetches each again past the cache and hashes it, and leaves what it found in its
 * own text. The hashes need a secure context: in the clear the command line declares the origin to be one. Without an icon of its
 * own the browser would ask for one at last, and end in the middle of that: what of its last segments comes behind its
 * reset is answered by a kernel that has no socket for it any more.
 */
const PAGE = `<!doctype html><title>images</title><link rel="icon" href="data:,">
${Array.from({ length: IMAGES }, (_, index) => `<img src="/${index}.bmp">`).join('\n')}
<pre id="found">nothing yet</pre>
<script>
  addEventListener('load', async () => {
    const found = { complete: [], hashes: [], error: null };
    try {
      for (const image of document.images) found.complete.push(image.complete ? image.naturalWidth : -1);
      const hashes = Array.from(document.images, async (image) => {
        const response = await fetch(image.src, { cache: 'no-store' });
        const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await response.arrayBuffer()));
        return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
      });
      found.hashes = await Promise.all(hashes);
    } catch (error) {
      found.error = String(error);
    }
    document.getElementById('found').textContent = JSON.stringify(found);
  });
</script>
`;

describe('a browser', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  let profile: string;
  before(async () => {
    profile = mkdtempSync(join(tmpdir(), 'baton-chromium-'));
    stand = await Stand.up({ name: 'browser', tls: true, sizes: [], set: ['observe.accessFields=[tls]'] });
    writeFileSync(join(stand.root, 'index.html'), PAGE);
    for (let index = 0; index < IMAGES; index++)
      writeFileSync(join(stand.root, `${index}.bmp`), bitmap(index));
  });
  after(() => {
    stand?.down();
    rmSync(profile, { recursive: true, force: true });
  });

  for (const { scheme, mechanism } of PAGES) {
    const HOST = `${mechanism}.test`;
    const origin = `${scheme}://${HOST}`;
    let connections = 0;
    test(`${scheme}, ${mechanism}: a page with ${IMAGES} images, each loaded and then fetched again`, async () => {
      await stand.markResets();
      const before = await stand.total('connections_accepted');
      const chromium = [
        ...['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
        ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
        `--user-data-dir=${join(profile, `${scheme}-${mechanism}`)}`,
        `--host-resolver-rules=MAP ${HOST} ${stand.lab.nodes[0].public[0]}`,
        scheme === 'http'
          ? `--unsafely-treat-insecure-origin-as-secure=${origin}`
          : `--ignore-certificate-errors-spki-list=${publicKeyHash(stand.lab.plan.certificates!.cert)}`,
        // Time passes for the page while nothing is under way, so its text is written when it is complete.
        `--virtual-time-budget=${WAIT_MS}`,
        ...['--dump-dom', `${origin}/`],
      ];
      const { code, stdout, stderr } = await stand.lab.exec('client', chromium, { timeoutMs: WAIT_MS });
      assert.equal(code, 0, stderr);
      const text = /<pre id="found">(.*)<\/pre>/.exec(stdout)?.[1];
      assert.match(String(text), /^\{/, stdout.slice(0, 1000) + stderr);
      const { complete, hashes, error } = JSON.parse(text!);
      assert.equal(error, null);
      const indices = Array.from({ length: IMAGES }, (_, index) => index);
      assert.deepEqual(complete, indices.map(widthOf));
      assert.deepEqual(
        hashes,
        indices.map((index) => createHash('sha256').update(bitmap(index)).digest('hex')),
      );
      // With split the anchor ends connections, and a browser that closes its end 2 s later gets a reset (FIN-WAIT-2).
      if (mechanism !== 'split') await stand.noResets();
      await stand.nothingLeft();
      connections = (await stand.total('connections_accepted')) - before;
    });

    test(`${scheme}, ${mechanism}: several nodes answered${mechanism === 'split' ? '' : ' on one connection'}`, () => {
      const lines = readFileSync(join(stand.lab.plan.directory, 'a.log'), 'utf8').trim().split('\n');
      const records = lines
        .map((line) => JSON.parse(line))
        .filter(({ host, target }) => host === HOST && target.endsWith('.bmp'))
        .filter(({ tls }) => tls === (scheme === 'https' ? 'TLSv1.3' : null));
      assert.equal(records.length, 2 * IMAGES);
      const byClient = new Map<string, { node: string; mechanism: string }[]>();
      for (const record of records) {
        assert.equal(record.status, 200);
        byClient.set(record.client, [...(byClient.get(record.client) ?? []), record]);
      }
      if (mechanism === 'split') {
        // It takes its connection with it. (The next one may have the same port.)
        const splits = records.filter(({ mechanism }) => mechanism === 'split').length;
        assert.ok(splits > IMAGES / 2 && splits <= connections, `${splits} on ${connections} connections`);
        assert.equal(new Set(records.map(({ node }) => node)).size, stand.lab.nodes.length);
        return;
      }
      // A browser keeps few connections to a host, and uses them again.
      assert.ok(byClient.size <= MAX_CONNECTIONS, `${byClient.size} connections`);
      const nodes = [...byClient.values()].map((all) => new Set(all.map(({ node }) => node)).size);
      assert.equal(Math.max(...nodes), stand.lab.nodes.length, 'nodes that answered on one connection');
    });
  }
});
