/** `baton check` of what sites show to clients with TLS. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openConfig } from '../../../src/base/config/load.ts';
import { checkCertificates } from '../../../src/tools/cli/certificate-checks.ts';
import { makeFiles } from '../../protocol/tls/certificates.ts';

const DAY_MS = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), 'baton-check-'));
after(() => rmSync(directory, { recursive: true }));
makeFiles(directory, 'a', ['a.test']);
const file = join(directory, 'cluster.yaml');

function checked(tls: string, options: { hosts?: string; isCertain?: boolean; days?: number } = {}) {
  const { hosts = 'a.test', isCertain = true, days = 0 } = options;
  writeFileSync(
    file,
    `cluster: { key: a key of enough characters }
nodes: { a: { address: 192.0.2.1 } }
sites:
  - root: /srv/www
    name: s
    hosts: [${hosts}]
    tls: ${tls}
`,
  );
  const { source, config } = openConfig(file);
  const { errors, warnings } = checkCertificates(source, config, isCertain, Date.now() + days * DAY_MS);
  const told = (problems: typeof errors) =>
    problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
  return { errors: told(errors), warnings: told(warnings) };
}

test('what is right has nothing to say; time, names, and what is missing have their places', () => {
  const pair = '{ cert: a.pem, key: a.key }';
  assert.deepEqual(checked(pair), { errors: [], warnings: [] });
  const soon = checked(pair, { days: 20 });
  assert.deepEqual(soon.errors, []);
  assert.match(soon.warnings[0], /^7:18 .*a\.pem expires in 9 days/);
  assert.match(checked(pair, { days: 31 }).errors[0], /^7:18 .*a\.pem has expired/);
  assert.deepEqual(checked(pair, { hosts: 'a.test, b.test' }).warnings, [
    '6:21 no certificate is for b.test',
  ]);
  assert.match(checked('{ cert: a.pem, key: b.key }').errors[0], /^7:30 there is no file .*b\.key/);
  const elsewhere = checked('{ cert: a.pem, key: b.key }', { isCertain: false });
  assert.deepEqual([elsewhere.errors.length, elsewhere.warnings.length], [0, 1]);
  const list = '{ certificates: [{ cert: a.pem, key: a.key }, { cert: none.pem, key: a.key }] }';
  assert.match(checked(list).errors[0], /^7:64 there is no file .*none\.pem/);
  chmodSync(join(directory, 'a.key'), 0o644);
  assert.match(checked(pair, { isCertain: false }).errors[0], /^7:30 others on this machine can read/);
});
