/** The shape of what the configuration file says of boosters: when servers give them clients, and what those may ask for. */
import { z } from 'zod';
import { flag, integer, must, text } from './values.ts';

export const PERMILLE_OF_LOAD = 'permille of what a node can do';
const MAX_FIRST_BYTE_MS = 60_000;
const FIRST_BYTE = `a whole number from 1 to ${MAX_FIRST_BYTE_MS} (milliseconds), or off`;
const boostKeys = {
  boosters: z.array(text('a node name'), must('a list of node names')),
  onPermille: integer(1, 1000, PERMILLE_OF_LOAD),
  offPermille: integer(1, 1000, PERMILLE_OF_LOAD),
  sharePermille: integer(1, 1000, 'permille of new connections'),
  return: flag(),
  firstByteMs: z
    .union([z.int(), z.literal('off'), z.literal(false)], must(FIRST_BYTE))
    .refine((value) => typeof value !== 'number' || (value >= 1 && value <= MAX_FIRST_BYTE_MS), {
      error: `must be ${FIRST_BYTE}`,
    })
    .transform((value) => (typeof value === 'number' ? value : null)),
};
const MAX_PER_SECOND = 1_000_000;
const rateLimits = () =>
  z
    .strictObject(
      {
        connectionsPerSecond: integer(1, MAX_PER_SECOND).nullable().default(null),
        requestsPerSecond: integer(1, MAX_PER_SECOND).nullable().default(null),
        inFlight: integer(1, MAX_PER_SECOND).nullable().default(null),
      },
      must('a map of limits'),
    )
    .prefault({});
/** What one server says of boosters; for what it leaves out the values for all servers hold. */
export const nodeBoost = z.strictObject(boostKeys, must('a map')).partial();
export const boostSchema = z
  .strictObject(
    {
      /** Absent: all boosters. */
      boosters: boostKeys.boosters.optional(),
      onPermille: boostKeys.onPermille.default(800),
      offPermille: boostKeys.offPermille.default(500),
      sharePermille: boostKeys.sharePermille.default(1000),
      return: boostKeys.return.default(false),
      firstByteMs: boostKeys.firstByteMs.default(1000),
      perAddress: rateLimits(),
      perNetwork: rateLimits(),
    },
    must('a map'),
  )
  .prefault({});

export type BoostValue = z.output<typeof boostSchema>;
