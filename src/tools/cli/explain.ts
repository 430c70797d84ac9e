/** `baton explain`: which node would answer a request, and how, as the node that runs on this machine sees it. */
import { Command } from 'commander';
import { findNode } from '../../base/config/find-node.ts';
import { loadConfig } from '../../base/config/load.ts';
import type { ExplainedAuto, ExplainedCase } from '../../handoff/mechanism/auto.ts';
import type { Explanation } from '../../node/engine/explain.ts';
import { AskError, askHere } from './ask.ts';
import { nodeHere } from './machine-checks.ts';
import { table } from './table.ts';

interface Flags {
  readonly config: string;
  readonly node?: string;
}

const KNOWN = {
  file: 'as the file has',
  learnt: 'as its responses had on average',
  assumed: 'assumed: nothing is known of it',
} as const;

const WHY_NEVER = [
  'local: the policy names another node',
  'split: ends the connection with the response',
  'migrate, drain: take the connection along, whatever is asked for next',
];

/** The lines that say why: one an explanation's part. */
export function describeExplanation(url: string, self: string, explanation: Explanation): string[] {
  const { site, policy, node, mechanism, auto } = explanation;
  if (site === null) return [`${url}: no site has this host; node ${self} says so`];
  const by = `site ${site}, policy ${policy}`;
  if (node === self) return [`${url}: node ${node}, which is this one (${by}): mechanism local`];
  if (auto === null) return [`${url}: node ${node} (${by}) by mechanism ${mechanism}, which is configured`];
  return [`${url}: node ${node} (${by}); mechanism auto`, '', ...describeAuto(auto, self, node)];
}

function describeAuto(auto: ExplainedAuto, self: string, node: string): string[] {
  const { bytes, known, anchorPermille, targetPermille, byteTimes, cases } = auto;
  const rows = cases[0].estimates.map(({ row }) => row);
  const line = ({ connection, row, estimates }: ExplainedCase) => [
    connection,
    ...estimates.map((estimate) => (estimate.us === null ? '-' : `${estimate.us}`)),
    row,
  ];
  const objections = cases.flatMap(({ estimates }) =>
    estimates.flatMap(({ row, whyNot }) => (whyNot === null ? [] : [`${row}, -: ${whyNot}`])),
  );
  return [
    `response: ${bytes} bytes, ${KNOWN[known]}`,
    `processors: ${self} ${anchorPermille / 10} %, ${node} ${targetPermille / 10} % busy`,
    ...(byteTimes === 1
      ? []
      : [
          `bytes cost ${byteTimes.toFixed(2)} times as much here, beside calls, as where prices were measured`,
        ]),
    '',
    table([['connection', ...rows.map((row) => `${row}, us`), 'chosen'], ...cases.map(line)]),
    '',
    'A kept connection changes between relay and the others once that would have paid.',
    ...new Set(objections),
    ...WHY_NEVER,
  ];
}

export function explainCommand(): Command {
  return new Command('explain')
    .description('which node would answer a GET that comes to this machine, by which mechanism, and why')
    .argument('<url>', 'http://HOST/PATH or https://: HOST as clients name it')
    .requiredOption('-c, --config <file>', 'the cluster file')
    .option('-n, --node <name>', 'which of its nodes this machine is (default: by its addresses)')
    .action(async (url: string, { config: file, node }: Flags) => {
      const config = loadConfig(file);
      if (node !== undefined) findNode(config, node);
      const self = node ?? nodeHere(config);
      if (self === null)
        throw new AskError('this machine has the address of no node; name the one that runs here: --node');
      const answer = await askHere(self)('GET', `/api/explain?url=${encodeURIComponent(url)}`);
      if (answer === null) throw new AskError(`node ${self} does not run on this machine`);
      for (const line of describeExplanation(url, self, answer as Explanation)) console.log(line);
    });
}
