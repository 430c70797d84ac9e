/** A process with secrets leaves no core file. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const LINUX = new URL('../../../src/kernel/linux/', import.meta.url);

test('the kernel writes no memory of such a process to a file', () => {
  const program = `
    import { forbidCoreFiles } from '${LINUX}core-files.js';
    import { prctl } from '${LINUX}libc.js';
    const PR_GET_DUMPABLE = 3;
    const before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    forbidCoreFiles();
    console.log(before, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.match(stdout, /^[12] 0\n$/, stderr);
});
