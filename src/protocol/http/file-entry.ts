/** A file that a request path leads to, with everything that may be sent for it. */
import { documentHash } from '../../base/text-hash.ts';
import { chooseVariant } from './negotiate.ts';
import type { OpenFile } from './open-file.ts';
import type { Representation } from './representation.ts';

/** Accept-Encoding values whose outcome an entry remembers, and the longest of them. */
const MAX_CHOICES = 16;
const MAX_CHOICE_BYTES = 128;
/** What an entry costs beside its path and bodies: choices, fields, ready-made heads. */
const ENTRY_OVERHEAD_BYTES = 4096;
/** The body of a small file, and a ready-made response of each kind. */
const BODY_COPIES = 4;

export class Entry {
  readonly path: string;
  /** Hash of the file's name below the root. */
  readonly document: number;
  readonly representations: readonly Representation[];
  readonly memoryBytes: number;
  readonly descriptors: number;
  checkedAtMs: number;
  /** What changes any of its files from now on shows in their times. */
  settled: boolean;
  used = false;
  /** For those who look what is in memory: requested since the last look; in memory at the last look. */
  asked = true;
  resident = false;
  readonly #choices = new Map<string, Representation>();

  constructor(path: string, name: string, representations: readonly Representation[], nowMs: number) {
    this.path = detached(path);
    this.document = documentHash(name);
    this.representations = representations;
    this.checkedAtMs = nowMs;
    this.settled = representations.every(({ file }) => file.settled);
    let memoryBytes = ENTRY_OVERHEAD_BYTES + path.length;
    let descriptors = 0;
    for (const { body, fd } of representations) {
      if (body !== null) memoryBytes += BODY_COPIES * body.length;
      if (fd !== -1) descriptors++;
    }
    this.memoryBytes = memoryBytes;
    this.descriptors = descriptors;
  }

  requested(): void {
    this.used = true;
    this.asked = true;
  }

  /** The representation for an Accept-Encoding value. */
  choose(acceptEncoding: string | undefined): Representation {
    if (acceptEncoding === undefined || this.representations.length === 1) return this.representations[0];
    let choice = this.#choices.get(acceptEncoding);
    if (choice === undefined) {
      choice = this.representations[chooseVariant(acceptEncoding, this.representations)];
      if (this.#choices.size < MAX_CHOICES && acceptEncoding.length <= MAX_CHOICE_BYTES) {
        this.#choices.set(detached(acceptEncoding), choice);
      }
    }
    return choice;
  }

  /** What was opened now is in the versions that are here. */
  isOf(opened: readonly OpenFile[]): boolean {
    const { representations } = this;
    return (
      representations.length === opened.length &&
      opened.every(({ coding, state }, i) => {
        const { coding: known, file } = representations[i];
        return known === coding && file.version === state.version;
      })
    );
  }

  /**
   * Whether the other entry is of the same files in the same versions, with the same bytes as far as they were read.
   */
  isAsOld({ representations }: Entry): boolean {
    return (
      representations.length === this.representations.length &&
      representations.every(({ file, coding, body }, i) => {
        const own = this.representations[i];
        const isSameFile = own.coding === coding && own.file.version === file.version;
        return isSameFile && (own.body === null || body === null || own.body.equals(body));
      })
    );
  }

  /** What was read now has the bytes that are here. Of a large file nobody knows what was sent of it meanwhile. */
  holds(opened: readonly OpenFile[]): boolean {
    return opened.every(({ body }, i) => {
      const known = this.representations[i].body;
      return body !== null && known?.equals(body) === true;
    });
  }

  /**
   * Whether its large files are as they were when they were opened, so that the validators still stand for the bytes
   * that are sent.
   */
  get isCurrent(): boolean {
    return this.representations.every(({ fd, file }) => fd === -1 || file.isCurrent(fd));
  }

  release(): void {
    for (const representation of this.representations) representation.release();
  }
}

/** A copy of a string that was cut out of a head: the cut itself would keep the whole head in memory. */
export function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
