/** VIEW: what the sending node's file says of the cluster, as digests. `at` is the first byte after the header. */
import type { Codec } from './codec.ts';
import { FrameType } from './frame-types.ts';
import {
  getFlags,
  getText,
  must,
  putText,
  putU8,
  putU16,
  requireAtLeast,
  requireLength,
  textLength,
} from './wire.ts';

/** What a section of VIEW is about. */
export const ViewKind = { NODE: 1, SITE: 2, SETTING: 3 } as const;
export type ViewKind = (typeof ViewKind)[keyof typeof ViewKind];

/** In both directions: what the sender's file says of the cluster, as digests. */
export interface View {
  type: typeof FrameType.VIEW;
  /** Digests of the file's sections; those of nodes are in the file's order. */
  sections: Array<{
    readonly kind: ViewKind;
    /** 1 to 63 bytes of UTF-8 without control characters. */
    readonly name: string;
    /** The sender answers requests of the site. */
    readonly serves: boolean;
    /** 64 bits that stand for what must agree, and for what may differ for a while. */
    readonly essence: bigint;
    readonly rest: bigint;
  }>;
}

/*
 * VIEW (22), both directions
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 8      | 2     | count    | of sections, at most 512 |
 * |        |       | sections | |
 *
 * A section of VIEW
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 0      | 1     | kind        | 1 node, 2 site, 3 setting |
 * | 1      | 1     | name length | 1 to 63 |
 * | 2      | N     | name        | UTF-8, no control characters |
 * | 2+N    | 1     | flags       | bit 0 the sender serves the site (kind 2 only) |
 * | 3+N    | 8     | essence     | digest of what must agree |
 * | 11+N   | 8     | rest        | digest of what may differ for a while |
 */
const SECTION_FIXED_BYTES = 19;
const DIGEST_BYTES = 8;
const SERVES = 1;
const MAX_SECTIONS = 512;
const MAX_SECTION_NAME_BYTES = 63;

function viewSize({ sections }: View): number {
  return sections.reduce((sum, { name }) => sum + SECTION_FIXED_BYTES + Buffer.byteLength(name), 2);
}

function writeView(frame: View, into: Buffer, start: number): number {
  must(frame.sections.length <= MAX_SECTIONS, 'sections');
  let at = putU16(into, start, frame.sections.length);
  for (const section of frame.sections) {
    const { kind, name, serves, essence, rest } = section;
    checkSection(section);
    at = putU8(into, at, kind);
    at = putText(into, putU8(into, at, textLength(name, MAX_SECTION_NAME_BYTES)), name);
    at = putU8(into, at, serves ? SERVES : 0);
    at = into.writeBigUInt64BE(essence, at);
    at = into.writeBigUInt64BE(rest, at);
  }
  return at;
}

function readView(bytes: Buffer, start: number, end: number): View {
  requireAtLeast(start, end, 2);
  const count = bytes.readUInt16BE(start);
  must(count <= MAX_SECTIONS, 'sections');
  let at = start + 2;
  const sections: View['sections'] = [];
  for (let i = 0; i < count; i++) {
    requireAtLeast(at, end, SECTION_FIXED_BYTES);
    const nameEnd = at + 2 + bytes[at + 1];
    requireAtLeast(nameEnd, end, SECTION_FIXED_BYTES - 2);
    const section = {
      kind: bytes[at] as ViewKind,
      name: getText(bytes, at + 2, nameEnd, MAX_SECTION_NAME_BYTES),
      serves: getFlags(bytes, nameEnd, SERVES) !== 0,
      essence: bytes.readBigUInt64BE(nameEnd + 1),
      rest: bytes.readBigUInt64BE(nameEnd + 1 + DIGEST_BYTES),
    };
    checkSection(section);
    sections.push(section);
    at = nameEnd + 1 + 2 * DIGEST_BYTES;
  }
  requireLength(at, end, 0);
  return { type: FrameType.VIEW, sections };
}

export const viewCodec: Codec<View> = { size: viewSize, write: writeView, read: readView };

function checkSection({ kind, name, serves, essence, rest }: View['sections'][number]): void {
  must(kind >= ViewKind.NODE && kind <= ViewKind.SETTING, 'kind of a section');
  must(kind === ViewKind.SITE || !serves, 'a section that is no site, and served');
  // Names go to logs.
  must(!/\p{Cc}/u.test(name), 'characters of a section’s name');
  for (const digest of [essence, rest]) must(digest >= 0n && digest < 2n ** 64n, 'digest');
}
