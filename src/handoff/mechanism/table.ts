/** The mechanism table. docs/architecture.md shows it; a test compares the two. */
import type { MechanismRow } from '../../base/config/config.ts';
import { ANCHOR } from './anchor.ts';
import { BOOST } from './boost.ts';
import { CLONE } from './clone.ts';
import { DRAIN } from './drain.ts';
import { LOCAL } from './local.ts';
import type { Mechanism } from './mechanism.ts';
import { MIGRATE } from './migrate.ts';
import { RELAY } from './relay.ts';
import { SPLIT } from './split.ts';

export const MECHANISM_TABLE: Readonly<Record<MechanismRow, Mechanism>> = {
  local: LOCAL,
  relay: RELAY,
  anchor: ANCHOR,
  clone: CLONE,
  split: SPLIT,
  migrate: MIGRATE,
  drain: DRAIN,
  boost: BOOST,
};
