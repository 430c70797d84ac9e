/**
 * One connection, run inside the lab's client namespace: `node asker.js ADDRESS`. Each line on standard input is an Item
 * as JSON, and asked for; each line on standard output its Answer.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Item } from './client.ts';
import { type Answer, ResponseReader } from './response-reader.ts';

const SILENCE_MS = 8_000;

async function main(): Promise<void> {
  const socket = connect({ host: process.argv[2], port: 80, noDelay: true, autoSelectFamily: false });
  let item: Item | undefined;
  let answered: (answer: Answer) => void = () => {};
  const reader = new ResponseReader(
    () => item,
    (answer) => answered(answer),
  );
  socket.setTimeout(SILENCE_MS, () => socket.destroy(new Error('nothing came for too long')));
  socket.on('data', (bytes) => reader.push(bytes));
  for await (const line of createInterface({ input: process.stdin })) {
    item = JSON.parse(line) as Item;
    const answer = new Promise<Answer>((done) => {
      answered = done;
    });
    socket.write(`GET ${item.path} HTTP/1.1\r\nHost: ${item.host}\r\n\r\n`);
    process.stdout.write(`${JSON.stringify(await answer)}\n`);
  }
  socket.end();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
