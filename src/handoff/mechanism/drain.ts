/** Mechanism drain: the traditional handoff, for comparison. As migrate, but not before everything sent is acknowledged. */
import type { Mechanism } from './mechanism.ts';
import { MIGRATE } from './migrate.ts';

export const DRAIN: Mechanism = { ...MIGRATE };
