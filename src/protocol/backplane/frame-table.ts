/**
 * All frames: a row for each. Whoever adds one gives it a number (frame-types.ts), an interface and a codec in a file
 * of its own or beside its like, a row here, and its section in docs/protocol.md, which a test compares with this.
 *
 * *speaker* is the end that may say it in a conversation: the one that has opened it, the one that has taken it,
 * either; `link` are frames without a conversation. *bulk* are those that carry requests, responses and connections,
 * or that are many: a link that is too far behind refuses them. The others are few, small and must get through. *keeps*:
 * what takes the frame may keep bytes that it carries, so it gets memory of its own; of RELAY_DATA nothing is kept.
 */
import type { Codec } from './codec.ts';
import { type Cached, cachedCodec } from './frame-cached.ts';
import { type Catalogue, catalogueCodec } from './frame-catalogue.ts';
import * as link from './frame-link.ts';
import * as migrate from './frame-migrate.ts';
import { type Abort, abortCodec, type SetupReject, setupRejectCodec } from './frame-reason.ts';
import * as response from './frame-response.ts';
import { type Setup, setupCodec } from './frame-setup.ts';
import {
  type Confirm,
  confirmCodec,
  type SetupOk,
  setupOkCodec,
  type Window,
  windowCodec,
} from './frame-setup-ok.ts';
import { type FrameName, FrameType } from './frame-types.ts';
import { type View, viewCodec } from './frame-view.ts';

export type Frame =
  | Setup
  | SetupOk
  | SetupReject
  | Confirm
  | Window
  | response.DataDone
  | response.Collected
  | response.Reset
  | response.ResetOk
  | Abort
  | link.Keepalive
  | link.Load
  | link.RelayData
  | link.RelayCredit
  | link.Hello
  | migrate.Migrate
  | migrate.MigrateData
  | migrate.MigrateOk
  | migrate.Route
  | migrate.Cleanup
  | migrate.CleanupOk
  | View
  | Catalogue
  | Cached;

export interface FrameRow<F> {
  readonly speaker: 'opener' | 'taker' | 'either' | 'link';
  readonly bulk: boolean;
  readonly keeps: boolean;
  readonly codec: Codec<F>;
}

export const FRAME_TABLE: {
  readonly [N in FrameName]: FrameRow<Extract<Frame, { type: (typeof FrameType)[N] }>>;
} = {
  SETUP: { speaker: 'opener', bulk: true, keeps: true, codec: setupCodec },
  SETUP_OK: { speaker: 'taker', bulk: false, keeps: false, codec: setupOkCodec },
  SETUP_REJECT: { speaker: 'taker', bulk: false, keeps: false, codec: setupRejectCodec },
  CONFIRM: { speaker: 'opener', bulk: false, keeps: false, codec: confirmCodec },
  WINDOW: { speaker: 'opener', bulk: false, keeps: false, codec: windowCodec },
  DATA_DONE: { speaker: 'taker', bulk: false, keeps: false, codec: response.dataDoneCodec },
  COLLECTED: { speaker: 'taker', bulk: false, keeps: false, codec: response.collectedCodec },
  RESET: { speaker: 'opener', bulk: false, keeps: false, codec: response.resetCodec },
  RESET_OK: { speaker: 'taker', bulk: false, keeps: false, codec: response.resetOkCodec },
  ABORT: { speaker: 'either', bulk: false, keeps: false, codec: abortCodec },
  // Which end says it in a conversation is in the frame: bytes of a request are the opener's, of a response the taker's.
  RELAY_DATA: { speaker: 'either', bulk: true, keeps: false, codec: link.relayDataCodec },
  RELAY_CREDIT: { speaker: 'either', bulk: false, keeps: false, codec: link.relayCreditCodec },
  HELLO: { speaker: 'link', bulk: false, keeps: true, codec: link.helloCodec },
  KEEPALIVE: { speaker: 'link', bulk: false, keeps: false, codec: link.keepaliveCodec },
  LOAD: { speaker: 'link', bulk: false, keeps: false, codec: link.loadCodec },
  MIGRATE: { speaker: 'opener', bulk: true, keeps: true, codec: migrate.migrateCodec },
  MIGRATE_DATA: { speaker: 'opener', bulk: true, keeps: true, codec: migrate.migrateDataCodec },
  MIGRATE_OK: { speaker: 'taker', bulk: false, keeps: false, codec: migrate.migrateOkCodec },
  ROUTE: { speaker: 'link', bulk: false, keeps: true, codec: migrate.routeCodec },
  CLEANUP: { speaker: 'link', bulk: false, keeps: true, codec: migrate.cleanupCodec },
  CLEANUP_OK: { speaker: 'link', bulk: false, keeps: true, codec: migrate.cleanupOkCodec },
  VIEW: { speaker: 'link', bulk: false, keeps: true, codec: viewCodec },
  CATALOGUE: { speaker: 'link', bulk: true, keeps: true, codec: catalogueCodec },
  CACHED: { speaker: 'link', bulk: true, keeps: true, codec: cachedCodec },
};

const BY_TYPE: readonly (FrameRow<Frame> | undefined)[] = byType();

function byType(): FrameRow<Frame>[] {
  const rows: FrameRow<Frame>[] = [];
  for (const [name, type] of Object.entries(FrameType))
    rows[type] = FRAME_TABLE[name as FrameName] as FrameRow<Frame>;
  return rows;
}

/** The row of a type of frame; undefined for a number that is none. */
export function rowOf(type: number): FrameRow<Frame> | undefined {
  return BY_TYPE[type];
}
