/** The shape of a site's `policy`: a name, classes of requests, or a module. What belongs together is in policy-checks.ts. */
import { z } from 'zod';
import { MECHANISM_SETTINGS, POLICIES } from './config.ts';
import { choice, integer, must, text } from './values.ts';

const MAX_RULES = 64;
const MAX_PATTERN_CHARACTERS = 512;
const GIB = 1024 ** 3;

/** `local` is what is left when the chosen node is this one. */
const REMOTE_MECHANISMS = MECHANISM_SETTINGS.filter((mechanism) => mechanism !== 'local');

function compiles(pattern: string): boolean {
  try {
    new RegExp(pattern);
    return true;
  } catch {
    return false;
  }
}

const pattern = (what: string) =>
  text(what).max(MAX_PATTERN_CHARACTERS, { error: `must be at most ${MAX_PATTERN_CHARACTERS} characters` });

const ruleSchema = z.strictObject(
  {
    path: pattern('a path pattern such as /images/**').optional(),
    regex: pattern('a regular expression')
      .refine(compiles, { error: 'must be a regular expression' })
      .optional(),
    minBytes: integer(0, 1024 * GIB, 'bytes').optional(),
    maxBytes: integer(0, 1024 * GIB, 'bytes').optional(),
    popularPermille: integer(1, 1000, 'permille of the requests').optional(),
    nodes: z
      .array(text('a node name'), must('a list of node names'))
      .min(1, { error: 'must name at least one node' }),
    mechanism: choice(REMOTE_MECHANISMS).optional(),
  },
  must('a map'),
);

/** `policy: hash` is short for `policy: { name: hash }`. */
export const policySchema = z.preprocess(
  (value) => (typeof value === 'string' ? { name: value } : value),
  z.strictObject(
    {
      name: choice([...POLICIES, 'class', 'delegate']).optional(),
      rules: z
        .array(ruleSchema, must('a list of rules'))
        .min(1, { error: 'must have at least one rule' })
        .max(MAX_RULES, { error: `must have at most ${MAX_RULES} rules` })
        .optional(),
      fallback: choice(POLICIES).optional(),
      percent: integer(0, 100, 'percent of the requests').optional(),
      requestsPerSecond: integer(1, 10_000_000, 'requests').optional(),
      cpuPermille: integer(1, 1000, 'permille of a processor').optional(),
      module: text('the path of a module').optional(),
      options: z.unknown().optional(),
    },
    must('the name of a policy, or a map'),
  ),
);

export type PolicyValue = z.output<typeof policySchema>;
