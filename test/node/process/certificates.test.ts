/** Certificates of a running node: when they are read again, what stays in force, and that keys do not stay. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { SiteConfig } from '../../../src/base/config/config.ts';
import { Certificates } from '../../../src/node/process/certificates.ts';
import { makeFiles } from '../../protocol/tls/certificates.ts';

const directory = mkdtempSync(join(tmpdir(), 'baton-certs-'));
after(() => rmSync(directory, { recursive: true }));
const first = makeFiles(directory, 'first', ['a.test']);
const second = makeFiles(directory, 'second', ['a.test', 'b.test']);
const used = { cert: join(directory, 'used.pem'), key: join(directory, 'used.key') };
const SITES = [
  { name: 'a', hosts: ['a.test'], tls: { certificates: [used], redirect: false, hstsSeconds: null } },
  { name: 'plain', hosts: ['*'], tls: null },
] as unknown as SiteConfig[];

function put(file: 'cert' | 'key', from: { readonly cert: string; readonly key: string }): void {
  copyFileSync(from[file], used[file]);
}

test('files that have changed are read when they have rested; a pair that does not fit changes nothing', () => {
  put('cert', first);
  put('key', first);
  const certificates = new Certificates('server');
  const { credentials, faults } = certificates.read(SITES);
  assert.deepEqual(faults, []);
  assert.deepEqual(
    credentials.map(({ site, hosts, pairs }) => [site, hosts, pairs?.length]),
    [['a', ['a.test'], 1]],
  );
  const key = credentials[0].pairs![0].key;
  assert.ok(key.some((byte) => byte !== 0));
  certificates.taken();
  assert.ok(
    key.every((byte) => byte === 0),
    'engines have it: it is wiped',
  );
  assert.equal(certificates.haveChanged, false);

  put('cert', second);
  assert.equal(certificates.haveChanged, false, 'the key may follow');
  assert.equal(certificates.haveChanged, true);
  const broken = certificates.read(SITES);
  assert.equal(broken.credentials[0].pairs, null, 'as before');
  assert.match(broken.faults[0].error, /is not the key of/);
  const [status] = certificates.status(Date.now());
  assert.deepEqual([status.names, status.daysLeft], [['a.test'], 29]);
  assert.match(status.error!, /is not the key of/);
  assert.equal(certificates.haveChanged, false, 'it is told once');

  put('key', second);
  assert.deepEqual([certificates.haveChanged, certificates.haveChanged], [false, true]);
  assert.deepEqual(certificates.read(SITES).faults, []);
  assert.deepEqual(certificates.status(Date.now())[0].names, ['a.test', 'b.test']);
  assert.equal(certificates.status(Date.now())[0].error, null);

  unlinkSync(used.key);
  assert.deepEqual([certificates.haveChanged, certificates.haveChanged], [false, true]);
  assert.match(certificates.read(SITES).faults[0].error, /there is no file/);
});

test('a front needs none', () => {
  assert.deepEqual(new Certificates('front').read(SITES), { credentials: [], faults: [] });
});
