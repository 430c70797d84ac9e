/**
 * The demonstration behind `npm run demo`: a lab of three nodes, and one curl that fetches several files over one
 * connection, each answered by the node that should send it; in the clear, and with TLS.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab } from '../lab/lab.ts';
import { checkRamp } from '../lab/ramp.ts';
import { SAMPLE_FILES } from '../lab/sample-site.ts';
import { reportError } from './report.ts';
import { table } from './table.ts';

const LAB_NAME = 'demo';
const FETCHED = ['1k.bin', '16k.bin', '64k.bin', '256k.bin', '1m.bin', '10m.bin', '1.bin', '0.bin'];
const CURL_TIMEOUT_SECONDS = 60;

interface Answer {
  readonly status: string;
  readonly servedBy: string;
  readonly mechanism: string;
}

/** Heads as curl prints them with --dump-header, one after the other. */
function parseHeads(text: string): Answer[] {
  const heads = text.split(/\r?\n\r?\n/).filter((head) => head.startsWith('HTTP/'));
  return heads.map((head) => {
    const field = (name: string): string =>
      new RegExp(`^${name}:[ \t]*(.*?)\r?$`, 'im').exec(head)?.[1] ?? '-';
    const mechanism = /handoff;[^,]*desc="?([a-z]+)/.exec(field('server-timing'))?.[1] ?? '-';
    return { status: head.split(' ', 2)[1], servedBy: field('x-served-by'), mechanism };
  });
}

/** `shown`: the flags of curl that a reader is to see. */
async function fetchAll(
  lab: Lab,
  directory: string,
  scheme: 'http' | 'https',
  shown: readonly string[],
): Promise<boolean> {
  const sizes = new Map(SAMPLE_FILES);
  const urls = FETCHED.map((name) => `${scheme}://a/${name}`);
  const transfers = FETCHED.flatMap((name, index) => ['-o', join(directory, name), urls[index]]);
  const report = '%{num_connects} %{local_port}\\n';
  const heads = join(directory, 'heads');
  const quiet = ['-sS', '-m', String(CURL_TIMEOUT_SECONDS), '-D', heads, '-w', report];
  const command = ['curl', ...quiet, ...shown, ...transfers];
  console.log(`  ${['curl', ...shown, ...urls].join(' ')}\n`);
  const result = await lab.exec('client', command, { timeoutMs: (CURL_TIMEOUT_SECONDS + 10) * 1000 });
  if (result.code !== 0) {
    console.log(`curl failed (${result.code}): ${result.stderr.trim()}`);
    return false;
  }
  const connections = result.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const opened = connections.reduce((sum, [count]) => sum + Number(count), 0);
  const answers = parseHeads(readFileSync(heads, 'utf8'));
  let allRight = opened === 1 && answers.length === FETCHED.length;
  const rows = FETCHED.map((name, index) => {
    const bytes = readFileSync(join(directory, name));
    const wrongAt = checkRamp(bytes, `/${name}`, sizes.get(name)!);
    const answer = answers[index];
    if (wrongAt >= 0 || answer?.status !== '200') allRight = false;
    const verdict = wrongAt < 0 ? 'every byte right' : `WRONG at ${wrongAt}`;
    const { status = '-', servedBy = '-', mechanism = '-' } = answer ?? {};
    return [`/${name}`, status, servedBy, mechanism, connections[index][1], String(bytes.length), verdict];
  });
  console.log(
    table([['request', 'status', 'answered by', 'mechanism', 'client port', 'bytes', 'check'], ...rows]),
  );
  const nodes = new Set(answers.map((answer) => answer.servedBy)).size;
  console.log(
    `\n${FETCHED.length} responses from ${nodes} nodes over ${opened} connection${opened === 1 ? '' : 's'}.`,
  );
  return allRight;
}

const NEXT = `
Keep a lab for yourself:
  sudo bin/baton lab up --nodes 3                      build it (add --delay 50 --loss 1 for a slow client)
  sudo bin/baton lab exec client -- curl -si http://a/ a request from the client
  sudo bin/baton lab exec a -- curl -s http://127.0.0.1:9900/api/status
  sudo bin/baton lab exec a -- curl -s http://127.0.0.1:9900/api/flows
  sudo bin/baton lab exec a -- curl -s http://127.0.0.1:9900/metrics
  sudo bin/baton lab kill b                            and ask again
  sudo bin/baton lab down
Nodes of a lab: http://a/ http://b/ http://c/ (IPv6: http://a6/ ...) inside the client's namespace.
Your own cluster: examples/cluster.yaml, bin/baton check, bin/baton serve. How it works: docs/architecture.md.`;

async function demo(): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), 'baton-demo-'));
  const clean = (): void => {
    // The lab first: its curl writes into the directory.
    Lab.remove(LAB_NAME);
    rmSync(directory, { recursive: true, force: true });
  };
  for (const signalName of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signalName, () => {
      clean();
      process.exit(130);
    });
  }
  try {
    console.log(
      'Building a lab: three nodes (a, b, c) and a client, in network namespaces of this machine ...\n',
    );
    const lab = await Lab.up({ name: LAB_NAME, nodes: 3, tls: true });
    const { authority } = lab.plan.certificates!;
    console.log(`In the client's namespace, one process, one connection, to node a only:\n`);
    const isRight = await fetchAll(lab, directory, 'http', []);
    console.log(`\nThe same with TLS; the node that sends a response also encrypts it:\n`);
    return (await fetchAll(lab, directory, 'https', ['--cacert', authority])) && isRight;
  } finally {
    clean();
    console.log('\nThe lab is down again; nothing is left of it.');
  }
}

try {
  const isRight = await demo();
  console.log(NEXT);
  process.exitCode = isRight ? 0 : 1;
} catch (error) {
  process.exitCode = reportError(error);
}
