/** Values that many keys of the configuration have, each with its message. */
import { z } from 'zod';

/** A message for a value of the wrong kind; a missing key keeps the default message. */
export const must = (message: string) => ({
  error: (issue: { input?: unknown }) => (issue.input === undefined ? undefined : `must be ${message}`),
});

export function integer(min: number, max: number, unit = '') {
  const expected = `a whole number from ${min} to ${max}${unit === '' ? '' : ` (${unit})`}`;
  return z
    .number(must(expected))
    .refine((n) => Number.isInteger(n) && n >= min && n <= max, { error: `must be ${expected}` });
}

export const text = (what: string) => z.string(must(what)).min(1, { error: `must be ${what}` });
export const flag = () => z.boolean(must('true or false'));
export const choice = <const T extends readonly string[]>(values: T) =>
  z.enum(values, must(`one of ${values.join(', ')}`));
