/** `baton boost` for many times, run on a node's machine as `node boost-operator.js NODE`: a mode a line, answered by a line. */
import { createInterface } from 'node:readline';
import { askHere } from '../../src/tools/cli/ask.ts';

const ask = askHere(process.argv[2]);
for await (const mode of createInterface({ input: process.stdin })) {
  await ask('POST', `/api/boost/${mode}`);
  process.stdout.write('done\n');
}
