/** Certificates and keys as they are read: what cannot be used, and why. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CertificateFault, loadCertificate, uncovered } from '../../../src/base/config/certificates.ts';
import { changedPolicies, needRestart } from '../../../src/base/config/changes.ts';
import type { ClusterConfig } from '../../../src/base/config/config.ts';
import { ConfigError } from '../../../src/base/config/error.ts';
import { parseConfig } from '../../../src/base/config/load.ts';
import { makeFiles } from '../../protocol/tls/certificates.ts';

const directory = mkdtempSync(join(tmpdir(), 'baton-cert-'));
after(() => rmSync(directory, { recursive: true }));
const made = makeFiles(directory, 'a', ['a.test', '*.b.test']);
const other = makeFiles(directory, 'other', ['c.test']);

function fault(files: { readonly cert: string; readonly key: string }): CertificateFault {
  try {
    loadCertificate(files);
  } catch (error) {
    assert.ok(error instanceof CertificateFault, String(error));
    return error;
  }
  return assert.fail('it can be used');
}

function written(name: string, text: string | Buffer): string {
  const file = join(directory, name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

test('a certificate and its key: what they are for, and until when', () => {
  const { leaf, expiresMs, key } = loadCertificate(made);
  assert.ok(expiresMs > Date.now() + 28 * 86_400_000);
  assert.deepEqual(Buffer.from(key), readFileSync(made.key));
  assert.ok(key.buffer instanceof SharedArrayBuffer, 'threads share it, so that it can be wiped');
  const hosts = ['a.test', 'a.test.', 'x.b.test', '*.b.test', 'b.test', '*.test', '10.0.0.1', '[::1]', '*'];
  assert.deepEqual(uncovered(hosts, [leaf]), ['b.test', '*.test', '10.0.0.1', '[::1]']);
  assert.deepEqual(uncovered(['a.test', 'c.test'], [leaf, loadCertificate(other).leaf]), []);
});

test('what cannot be used, and with which file something is wrong', () => {
  const pem = readFileSync(made.cert, 'utf8');
  const cases: Array<[{ cert?: string; key?: string }, 'cert' | 'key', RegExp]> = [
    [{ cert: join(directory, 'none') }, 'cert', /there is no file/],
    [{ cert: directory }, 'cert', /cannot be read/],
    [{ cert: written('empty.pem', '') }, 'cert', /no certificate in PEM/],
    [{ cert: written('der.pem', Buffer.from([0x30, 0x82])) }, 'cert', /no certificate in PEM/],
    [{ cert: written('bent.pem', pem.replace('MII', 'MIJ')) }, 'cert', /cannot be parsed/],
    [{ cert: written('chain.pem', pem + readFileSync(other.cert, 'utf8')) }, 'cert', /not the issuer/],
    [{ cert: written('long.pem', pem.repeat(11)) }, 'cert', /more than 10/],
    [{ cert: written('large.pem', 'x'.repeat(256 * 1024 + 1)) }, 'cert', /larger than/],
    [{ key: join(directory, 'none') }, 'key', /there is no file/],
    [{ key: made.cert }, 'key', /others on this machine can read/],
    [{ key: written('cert.key', pem) }, 'key', /no private key/],
    [{ key: other.key }, 'key', /is not the key of/],
  ];
  chmodSync(made.cert, 0o644);
  for (const [files, which, message] of cases) {
    const found = fault({ ...made, ...files });
    assert.match(found.message, message);
    assert.equal(found.file, which, found.message);
    assert.doesNotMatch(found.message + found.hint, /PRIVATE KEY/);
  }
  const locked = makeFiles(directory, 'locked', ['d.test'], 'ec', ['-passout', 'pass:x', '-days', '1']);
  chmodSync(locked.key, 0o640);
  assert.match(fault(locked).hint, /chmod go=/);
});

const TEXT = (tls: string, listen = '') => `cluster: { key: "a key of enough characters" }
nodes: { a: { address: 192.0.2.1, public: [192.0.2.101] } }
${listen}
sites: [{ name: s, hosts: [a.test], root: /srv/www, tls: ${tls} }]`;
const parse = (tls: string, listen?: string): ClusterConfig =>
  parseConfig(TEXT(tls, listen), '/etc/baton/cluster.yaml');

function problem(tls: string, listen?: string): string {
  try {
    parse(tls, listen);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail('it is right');
}

test('a site’s tls: pairs, what is refused, and where', () => {
  const { listen, sites } = parse('{ cert: a.pem, key: /k/a.key, hsts: 5 }');
  assert.deepEqual(listen, { port: 80, tlsPort: 443, tlsRekey: false });
  const files = { cert: '/etc/baton/a.pem', key: '/k/a.key' };
  assert.deepEqual(sites[0].tls, {
    minVersion: 'TLSv1.2',
    certificates: [files],
    redirect: false,
    hstsSeconds: 5,
  });
  const two = parse(
    '{ redirect: true, minVersion: TLSv1.3, certificates: [{ cert: 1.pem, key: 1.key }, { cert: 2.pem, key: 2.key }] }',
  );
  assert.equal(two.sites[0].tls?.certificates.length, 2);
  assert.equal(two.sites[0].tls?.minVersion, 'TLSv1.3');
  const without = parseConfig(TEXT('{}').replace(', tls: {}', ''), '/etc/baton/cluster.yaml');
  assert.deepEqual([without.listen.tlsPort, without.sites[0].tls], [null, null]);
  assert.match(problem('{ cert: a.pem }'), /4:53: missing key sites.0.tls.key/);
  assert.match(problem('{}'), /missing key sites.0.tls.cert/);
  assert.match(problem('{ cert: a, key: b, certificates: [{ cert: a, key: b }] }'), /beside cert and key/);
  assert.match(problem('{ certificates: [] }'), /at least one certificate/);
  assert.match(problem('{ certificates: [{ cert: a }] }'), /missing key sites.0.tls.certificates.0.key/);
  assert.match(problem('{ cert: a, key: b, hsts: -1 }'), /whole number from 0/);
  assert.match(problem('{ cert: a, key: b, redirekt: true }'), /did you mean redirect/);
  assert.match(problem('{ cert: a, key: b, minVersion: 1.2 }'), /TLSv1\.2/);
  const pair = '{ cert: a, key: b }';
  assert.match(problem(pair, 'listen: { tlsPort: 80 }'), /3:20: port 80 is listen.port already/);
  assert.match(problem(pair, 'listen: { tlsPort: 7946 }'), /port 7946 is listen.tlsPort already/);
});

test('other certificates and minVersion are taken over by a running node; redirect and hsts are not', () => {
  const before = parse('{ cert: a.pem, key: a.key }');
  assert.deepEqual(needRestart(before, parse('{ cert: b.pem, key: b.key }')), []);
  assert.deepEqual(needRestart(before, parse('{ cert: b.pem, key: b.key, minVersion: TLSv1.3 }')), []);
  assert.deepEqual(changedPolicies(before.sites, parse('{ cert: b.pem, key: b.key }').sites), []);
  assert.deepEqual(needRestart(before, parse('{ cert: a.pem, key: a.key, redirect: true, hsts: 1 }')), [
    'sites.s.tls.redirect',
    'sites.s.tls.hsts',
  ]);
  assert.deepEqual(needRestart(before, parse('{ cert: a.pem, key: a.key }', 'listen: { tlsPort: 8443 }')), [
    'listen.tlsPort',
  ]);
});
