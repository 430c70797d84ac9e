/** Policy modules: what is imported, what is refused, and that a changed file is imported anew. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { PolicyConfig, SiteConfig } from '../../../src/base/config/config.ts';
import { importsTypeScript } from '../../../src/base/config/typescript.ts';
import { createPolicy, importPolicies } from '../../../src/cluster/policy/create.ts';
import { tryPolicies } from '../../../src/cluster/policy/trial.ts';

const CONTEXT = { site: 'default', sizeOf: () => null };
const NO_MEMORY = { holders: () => [], chosen: () => {} };
const CONTENT = { a: { kind: 'root', root: '/' } } as const;

describe('policy modules', () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-policy-'));
  after(() => rmSync(directory, { recursive: true }));
  let files = 0;

  const write = (text: string, name = `p${files++}.mjs`): string => {
    const file = join(directory, name);
    writeFileSync(file, text);
    return file;
  };
  const site = (policy: PolicyConfig): SiteConfig => ({
    name: 'default',
    hosts: ['*'],
    content: {},
    tls: null,
    policy,
    mechanism: 'anchor',
    clone: { pre: false, keep: false },
    catalogue: false,
    cache: null,
    bodyBytes: 0,
    types: {},
  });
  const make = async (file: string, options?: unknown) => {
    const config = site({ kind: 'module', file, options });
    return createPolicy(config, await importPolicies([config]), CONTEXT, NO_MEMORY, () => {});
  };

  it('gets its options and context', async () => {
    const file = write(
      'export default (options, context) => ({ choose: () => (context.site === "default" ? options.node : -1) });',
    );
    const policy = await make(file, { node: 2 });
    const load = {
      connections: 0,
      requestsPerSecond: 0,
      acceptQueue: 0,
      cpuPermille: 0,
      loadPermille: 0,
      accepting: true,
      reportedAtMs: 0,
    };
    const candidates = [0, 1, 2].map((index) => ({ index, name: `n${index}`, load }));
    assert.equal(policy.choose({ path: '/' } as never, candidates, 0), 2);
  });

  it('is imported anew when the file has changed', async () => {
    const names = async (file: string) =>
      (await importPolicies([site({ kind: 'module', file, options: undefined })])).get(file)!.name;
    const file = write('export default function first() { return { choose: () => 0 }; }');
    assert.equal(await names(file), 'first');
    write('export default function other() { return { choose: () => 0 }; }', 'p1.mjs');
    utimesSync(file, 1, 2);
    assert.equal(await names(file), 'other');
  });

  it('is refused with the name of its file and what is wrong', async () => {
    const rows: [string, RegExp][] = [
      ['export default 1;', /no default export that is a function/],
      ['export const create = () => {};', /no default export/],
      ['export default () => 1;', /returned no object with a function choose/],
      ['export default () => undefined;', /returned no object/],
      [
        'export default () => { throw new Error("needs a table"); };',
        /its default export threw: needs a table/,
      ],
      ['export default (', /cannot be imported/],
      ['throw new Error("at once"); export default 1;', /cannot be imported: at once/],
    ];
    for (const [text, reason] of rows) {
      const file = write(text);
      await assert.rejects(make(file), (error: Error) => {
        assert.equal((error as { code?: string }).code, 'POLICY');
        assert.ok(error.message.includes(file), error.message);
        assert.match(error.message, reason);
        return true;
      });
    }
    await assert.rejects(make(join(directory, 'missing.mjs')), /missing\.mjs: cannot be imported: ENOENT/);
  });

  it('is tried in a thread that ends with it when it never returns', async () => {
    const forever = 'for (;;);';
    const texts = [
      'await new Promise(() => {}); export default () => ({ choose: () => 0 });',
      forever,
      `export default () => { ${forever} };`,
      `export default () => ({ choose() { ${forever} } });`,
    ];
    await Promise.all(
      texts.map(async (text) => {
        const file = write(text);
        const config = { ...site({ kind: 'module', file, options: undefined }), content: CONTENT };
        const tried = tryPolicies([config], 4000);
        await assert.rejects(tried, (error: Error & { code?: string }) => {
          assert.equal(error.code, 'POLICY');
          assert.match(error.message, /does not return/);
          return error.message.includes(file);
        });
      }),
    );
  });

  it('passes the trial when it works, throws now and then or answers nonsense, and fails it otherwise', async () => {
    const trial = (text: string) =>
      tryPolicies([
        { ...site({ kind: 'module', file: write(text), options: undefined }), content: CONTENT },
        site('hash'),
      ]);
    await trial('export default () => ({ choose: (head) => head.fields.get("host").length });');
    await trial('export default () => ({ choose: () => { throw new Error("no"); } });');
    await assert.rejects(trial('export default () => 1;'), /returned no object/);
    await assert.rejects(trial('process.exit(3);'), /ended the thread/);
    await assert.rejects(
      trial('setImmediate(() => { throw new Error("late"); }); await new Promise(() => {});'),
      /late/,
    );
  });

  it('may be TypeScript when this Node can import it', { skip: !importsTypeScript() }, async () => {
    const file = write('export default (n: number) => ({ choose: (): number => n });', 'typed.ts');
    await make(file, 1);
  });
});
