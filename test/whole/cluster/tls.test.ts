/** HTTPS as clients see it that nobody here wrote: curl, openssl s_client, gnutls-cli, Node. Over a lossy link all the time. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { certificatesIn } from '../../../src/tools/lab/authority.ts';
import { labDirectory } from '../../../src/tools/lab/plan.ts';
import { makeFiles } from '../../protocol/tls/certificates.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { whetherOver } from './faults.ts';
import { KIB, MIB, Stand } from './support.ts';
import type { TlsJob, TlsReport } from './tls-client.ts';

const NAME = 'tls';
const CLIENT = fileURLToPath(new URL('./tls-client.js', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('./upstream.js', import.meta.url));
const UPSTREAM_PORT = 8080;
const SIZES = [0, 1, 1000, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 64 * KIB, MIB];
const HANDSHAKES = 200;
const FLOOD = 5000;
/** Memory that a flood may leave at a node; had nothing gone of what OpenSSL keeps for a handshake, it would be more. */
const FLOOD_KIB = 100 * KIB;
const RENEWALS = 3;
const WAIT_MS = 20_000;

const { authority, cert, key } = certificatesIn(join(labDirectory(NAME), 'tls'));
const ADDRESS = { a: '10.77.0.101', b: '10.77.0.102', a6: 'fd77::101' } as const;

/** Elsewhere than on Debian it may be missing. */
function skipWithoutGnutls(): { skip: string | false } {
  const isMissing = spawnSync('gnutls-cli', ['--version']).error !== undefined;
  return { skip: isMissing && 'SKIPPED: needs gnutls-cli (apt-get install gnutls-bin)' };
}

describe('HTTPS', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  const servers: ChildProcess[] = [];
  const site = (name: string, fields: object) => ({
    name,
    hosts: [`${name}.test`],
    policy: 'round-robin',
    tls: { cert, key },
    ...fields,
  });

  before(async () => {
    stand = await Stand.up({
      name: NAME,
      nodes: 2,
      tls: true,
      delayMs: 4,
      lossPercent: 0.5,
      sizes: SIZES,
      sites: (root) => [
        site('t-local', { root, mechanism: 'local' }),
        site('t-relay', { root, mechanism: 'relay' }),
        site('t-anchor', { root, mechanism: 'anchor' }),
        site('t-app', { upstream: `127.0.0.1:${UPSTREAM_PORT}`, mechanism: 'relay' }),
        // In the clear alone.
        site('t-plain', { root, tls: undefined }),
        site('t-strict', {
          root,
          mechanism: 'anchor',
          tls: { cert, key, minVersion: 'TLSv1.3', redirect: true, hsts: 1000 },
        }),
      ],
      set: [
        'observe.accessFields=[tls,tlsCipher,tlsResumed]',
        `limits.handshakes=${HANDSHAKES}`,
        'limits.headSeconds=2',
        'listen.tlsRekey=true',
      ],
    });
    mkdirSync(join(stand.root, '.well-known/acme-challenge'), { recursive: true });
    writeFileSync(join(stand.root, '.well-known/acme-challenge/token'), 'proof');
    for (const { name } of stand.lab.nodes) {
      const argv = [process.execPath, UPSTREAM, String(UPSTREAM_PORT)];
      const server = stand.lab.spawn(name, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      servers.push(server);
      await once(server.stdout!, 'data');
    }
  });
  after(() => {
    for (const server of servers) server.kill('SIGKILL');
    stand?.down();
  });

  const curl = async (url: string, ...more: string[]) => {
    const { hostname, port, protocol } = new URL(url);
    const to = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}:${ADDRESS.a}`;
    const argv = ['curl', '-sS', '-m', '20', '--cacert', authority, '--resolve', to];
    const result = await stand.lab.exec('client', [...argv, ...more, url], { timeoutMs: 30_000 });
    return result;
  };
  const run = async (
    what: TlsJob['what'],
    host: string,
    sizes: readonly number[],
    address: string = ADDRESS.a,
  ) => {
    const job: TlsJob = { what, host: `${host}.test`, sizes, address, other: ADDRESS.b, authority };
    const argv = [process.execPath, CLIENT, JSON.stringify(job)];
    const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 60_000 });
    assert.equal(code, 0, stderr);
    const report = JSON.parse(stdout) as TlsReport;
    assert.deepEqual(report.failures, []);
    return report;
  };
  const count = async (node: string, name: string): Promise<number> =>
    (await stand.lab.admin(node, '/api/status')).counters[name];
  const until = async (what: string, condition: () => Promise<boolean>) => {
    for (const endMs = performance.now() + WAIT_MS; !(await condition()); await delay(100))
      assert.ok(performance.now() < endMs, what);
  };

  for (const version of ['1.2', '1.3'])
    test(`curl gets every byte, over one connection of TLS ${version}, by local, relay and anchor`, () =>
      everyByte(version));

  async function everyByte(version: string): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), 'baton-tls-'));
    const files = SIZES.map((size) => join(directory, String(size)));
    for (const host of ['t-local', 't-relay', 't-anchor']) {
      const urls = SIZES.map((size) => `https://${host}.test/${size}.bin`);
      const outputs = files.flatMap((file) => ['-o', file]);
      const report = ['-w', '%{num_connects} ', '--tls-max', version];
      const { code, stdout, stderr } = await curl(urls[0], ...urls.slice(1).reverse(), ...outputs, ...report);
      assert.equal(code, 0, stderr);
      assert.equal(stdout.trim(), ['1', ...SIZES.slice(1).map(() => '0')].join(' '));
      const asked = [...SIZES.slice(1).reverse(), SIZES[0]];
      for (const [at, size] of asked.entries())
        assert.ok(readFileSync(files[at]).equals(readFileSync(join(stand.root, `${size}.bin`))), `${size}`);
    }
    rmSync(directory, { recursive: true });
    assert.ok((await count('a', 'requests_relay')) > 0);
    // With TLS 1.2 no node is lent the key.
    for (const name of ['requests_anchor', 'tls_key_updates'])
      assert.equal((await count('a', name)) > 0, version === '1.3', name);
  }

  test('Node with a kept connection: all sizes, HEAD, a range, 404; IPv6; pipelined', async () => {
    assert.equal((await run('keep-alive', 't-local', SIZES)).connections, 1);
    await run('keep-alive', 't-relay', SIZES, ADDRESS.a6);
    for (const host of ['t-local', 't-relay']) await run('pipeline', host, [1, 1000, 64 * KIB]);
  });

  test('bodies, with and without 100-continue, through an upstream that is told of https', async () => {
    await run('bodies', 't-app', [10, 70_000, 300_000]);
    for (let i = 0; i < 2; i++) {
      const { stdout } = await curl('https://t-app.test/fields');
      const fields: string[] = JSON.parse(stdout);
      assert.equal(fields[fields.indexOf('X-Forwarded-Proto') + 1], 'https');
      assert.match(fields[fields.indexOf('Forwarded') + 1], /;proto=https$/);
      const plain = JSON.parse((await curl('http://t-app.test/fields')).stdout);
      assert.equal(plain[plain.indexOf('X-Forwarded-Proto') + 1], 'http');
    }
  });

  test('a client with a window of 4 KiB', async () => {
    const before = await stand.lab.exec('client', ['sysctl', '-n', 'net.ipv4.tcp_rmem']);
    await stand.lab.exec('client', ['sysctl', '-qw', 'net.ipv4.tcp_rmem=4096 4096 4096']);
    await run('keep-alive', 't-relay', [1, 64 * KIB]);
    await stand.lab.exec('client', ['sysctl', '-qw', `net.ipv4.tcp_rmem=${before.stdout.trim()}`]);
  });

  test('a session resumes at the other node, by Node and by openssl', async () => {
    await run('resume', 't-local', []);
    const file = join(stand.lab.plan.directory, 'session');
    const ask = (address: string, how: string, version = '-tls1_3') =>
      `printf 'GET /1.bin HTTP/1.1\\r\\nHost: t-local.test\\r\\nConnection: close\\r\\n\\r\\n' | ` +
      `openssl s_client -connect ${address}:443 -servername t-local.test -CAfile ${authority} -ign_eof ${version} ${how} ${file} 2>&1`;
    const first = await stand.lab.exec('client', ['sh', '-c', ask(ADDRESS.a, '-sess_out')]);
    assert.match(first.stdout, /New, TLSv1\.3/);
    assert.match(first.stdout, /Verification: OK/);
    const second = await stand.lab.exec('client', ['sh', '-c', ask(ADDRESS.b, '-sess_in')]);
    assert.match(second.stdout, /Reused, TLSv1\.3/);
    assert.match(second.stdout, /HTTP\/1\.1 200 OK/);
    const old = await stand.lab.exec('client', ['sh', '-c', ask(ADDRESS.a, '-sess_out', '-tls1_2')]);
    assert.match(old.stdout, /New, TLSv1\.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256/);
    assert.match(old.stdout, /Secure Renegotiation IS supported/);
    assert.match(old.stdout, /Extended master secret: yes/);
    const again = await stand.lab.exec('client', ['sh', '-c', ask(ADDRESS.b, '-sess_in', '-tls1_2')]);
    assert.match(again.stdout, /Reused, TLSv1\.2/);
    assert.match(again.stdout, /HTTP\/1\.1 200 OK/);
    assert.ok((await count('b', 'tls_resumed')) >= 4);
    await until('the access log tells of it', async () => {
      const log = stand.lab.logTail('b.log');
      const told = [
        '"tls":"TLSv1.3","tlsCipher":"TLS_AES_128_GCM_SHA256","tlsResumed":true',
        '"tls":"TLSv1.2","tlsCipher":"ECDHE-ECDSA-AES128-GCM-SHA256","tlsResumed":true',
      ];
      return told.every((text) => log.includes(text));
    });
  });

  test('gnutls-cli resumes, and has the keys changed between two requests', skipWithoutGnutls(), async () => {
    const host = 't-anchor.test';
    const names = ['--sni-hostname', host, '--verify-hostname', host, '--x509cafile', authority];
    const how = ['--resume', '--waitresumption', '--inline-commands', ...names, '-p', '443', ADDRESS.a];
    const client = stand.lab.spawn('client', ['gnutls-cli', ...how], { stdio: ['pipe', 'pipe', 'inherit'] });
    servers.push(client);
    let said = Buffer.alloc(0);
    client.stdout!.on('data', (bytes: Buffer) => {
      said = Buffer.concat([said, bytes]);
    });
    const ended = once(client, 'exit');
    const get = async (size: number, fields = '') => {
      const from = said.length;
      client.stdin!.write(`GET /${size}.bin HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`);
      const file = readFileSync(join(stand.root, `${size}.bin`));
      await until(`${size} bytes`, async () => said.subarray(from).includes(file));
    };
    await until('it has resumed', async () => said.includes('*** This is a resumed session'));
    await get(1000);
    await get(64 * KIB);
    client.stdin!.write('^rekey^\n');
    await until('the keys are changed', async () => said.includes('Rekey was completed'));
    await get(16 * KIB);
    await get(1, 'Connection: close\r\n');
    assert.deepEqual(await ended, [0, null]);
    assert.match(said.toString('latin1'), /The certificate is trusted/);
    const nodes = said.toString('latin1').match(/(?<=^X-Served-By: )./gm);
    assert.deepEqual(nodes?.sort(), ['a', 'a', 'b', 'b']);
  });

  test('http is redirected, but for ACME; browsers are told to come back with TLS', async () => {
    const redirected = await curl('http://t-strict.test/a?b=c', '-i', '-X', 'POST', '-d', 'x');
    assert.match(redirected.stdout, /^HTTP\/1\.1 308 .*\r\nLocation: https:\/\/t-strict\.test\/a\?b=c\r\n/s);
    const proof = await curl('http://t-strict.test/.well-known/acme-challenge/token');
    assert.equal(proof.stdout, 'proof');
    const strict = await curl('https://t-strict.test/1.bin', '-i');
    assert.match(strict.stdout, /\r\nStrict-Transport-Security: max-age=1000\r\n/);
    assert.doesNotMatch((await curl('https://t-local.test/1.bin', '-i')).stdout, /Strict-Transport/);
    const elsewhere = await curl('https://t-local.test/1.bin', '-i', '-H', 'Host: t-plain.test');
    assert.match(elsewhere.stdout, /^HTTP\/1\.1 421 /);
  });

  test('an unknown name, an old version, HTTP in the clear', async () => {
    assert.match((await curl('https://nobody.test/')).stderr, /unrecognized name/);
    assert.match((await curl('https://t-strict.test/', '--tls-max', '1.2')).stderr, /protocol version/);
    const tooOld = ['--tls-max', '1.1', '--tlsv1.0', '--ciphers', 'ALL:@SECLEVEL=0'];
    assert.match((await curl('https://t-local.test/', ...tooOld)).stderr, /protocol version/);
    assert.match((await curl('http://t-local.test:443/')).stdout, /write https:\/\/ instead/);
    for (const name of ['tls_unknown_name', 'tls_nothing_common', 'tls_plain'])
      assert.ok((await count('a', name)) > 0, name);
  });

  test('handshakes that are begun and left: the oldest go, and others are served meanwhile', async () => {
    const memoryKib = () => {
      const status = readFileSync(`/proc/${stand.lab.processOf('a')!.pid}/status`, 'utf8');
      return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)![1]);
    };
    const before = memoryKib();
    const flood = run('flood', 't-local', [FLOOD]);
    const isOver = whetherOver(flood);
    await until('they are there', async () => (await count('a', 'tls_evicted')) > 0);
    assert.ok((await count('a', 'tls_handshakes_now')) <= HANDSHAKES);
    const url = 'https://t-local.test/1000.bin';
    // One that is slower than so many others is the oldest itself.
    await until('one is served', async () => {
      return (await curl(url, '-w', '%{size_download}', '-o', '/dev/null')).stdout === '1000';
    });
    assert.equal(isOver(), false, 'served while they were there');
    await flood;
    assert.ok((await count('a', 'tls_evicted')) + (await count('a', 'tls_timeouts')) >= FLOOD);
    await until('none is left', async () => (await count('a', 'tls_handshakes_now')) === 0);
    assert.ok(memoryKib() - before < FLOOD_KIB, `${memoryKib() - before} KiB more`);
  });

  test('certificates are taken over when their files change; a broken one changes nothing, and says so', async () => {
    const shown = async () => (await curl('https://t-local.test/1.bin', '-v', '-o', '/dev/null')).stderr;
    const status = async () => (await stand.lab.admin('a', '/api/status')).certificates[0];
    assert.equal((await status()).error, null);
    const files = makeFiles(stand.lab.plan.directory, 'renewed', ['t-local.test']);
    copyFileSync(files.cert, cert);
    stand.lab.signal('a', 'SIGHUP');
    await until('the fault is told', async () => (await status()).error !== null);
    assert.match((await status()).error, /is not the key of/);
    assert.match(await shown(), /SSL certificate verify ok/);
    copyFileSync(files.key, key);
    // Nobody says so: the node looks by itself.
    await until('the new one is shown', async () => /self-signed certificate/.test(await shown()));
    assert.equal((await status()).error, null);
    assert.match(
      await stand.lab.adminText('a', '/metrics'),
      /baton_certificate_days_left\{site="t-local"\} (29|30)/,
    );
    assert.doesNotMatch(readFileSync(join(stand.lab.plan.directory, 'a.log'), 'utf8'), /PRIVATE KEY/);
  });

  test('certificates change again and again, while clients come, with tickets and without', async () => {
    const job: TlsJob = {
      what: 'visits',
      host: 't-local.test',
      sizes: [1000],
      address: ADDRESS.a,
      other: ADDRESS.b,
      authority,
    };
    const argv = [process.execPath, CLIENT, JSON.stringify(job)];
    const client = stand.lab.spawn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    servers.push(client);
    const printed = text(client.stdout!);
    for (let i = 0; i < RENEWALS; i++) {
      const name = `again${i}.test`;
      const files = makeFiles(stand.lab.plan.directory, `again${i}`, ['t-local.test', name]);
      copyFileSync(files.cert, cert);
      copyFileSync(files.key, key);
      for (const node of ['a', 'b']) {
        stand.lab.signal(node, 'SIGHUP');
        await until(`${node} has ${name}`, async () =>
          (await stand.lab.admin(node, '/api/status')).certificates[0].names.includes(name),
        );
      }
      const anew = async () => (await count('a', 'tls_handshakes')) - (await count('a', 'tls_resumed'));
      const before = { resumed: await count('a', 'tls_resumed'), anew: await anew() };
      await until('somebody resumes', async () => (await count('a', 'tls_resumed')) > before.resumed);
      // The first may have begun under the certificate before.
      await until('somebody is shown the new one', async () => (await anew()) > before.anew + 1);
    }
    client.stdin!.end();
    const { failures, right, resumed, certificates } = JSON.parse(await printed) as TlsReport;
    assert.deepEqual(failures, []);
    assert.ok(right > resumed && resumed >= RENEWALS, `${resumed} of ${right} resumed`);
    assert.ok(certificates.length >= RENEWALS, `${certificates.length} certificates were shown`);
  });

  test('nothing is left', async () => {
    await stand.nothingLeft();
  });
});
