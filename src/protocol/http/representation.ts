/**
 * A file as it is sent: itself or a precompressed sibling, in one version. Its validators stand for its bytes:
 *
 *   small, in memory          strong: by a hash of what is in memory
 *   large, hash not there     weak: by the file's times, which tell no byte; it has no identity
 *   large, hash there         strong, by the hash
 */
import { createHash } from 'node:crypto';
import { closeFile } from '../../kernel/linux/files.ts';
import { type Digested, Stretch } from './continuation.ts';
import { formatDate } from './date.ts';
import type { Coding, Variant } from './negotiate.ts';
import type { OpenFile } from './open-file.ts';
import type { Response } from './reply.ts';

/** Characters of a digest: 132 bits of SHA-256 in base64url. */
const DIGEST_CHARACTERS = 22;

/** What stands for bytes of which `hash` has seen all. */
export function digestOf(hash: { digest(encoding: 'base64url'): string }): string {
  return hash.digest('base64url').substring(0, DIGEST_CHARACTERS);
}

const textDigest = (value: string | Buffer) => digestOf(createHash('sha256').update(value));

export class Representation implements Variant, Digested {
  readonly coding: Coding | '';
  readonly sizeBytes: number;
  readonly lastModifiedMs: number;
  readonly contentType: string;
  /** The whole representation. */
  readonly whole: Stretch;
  /** The content of a small file, else null. */
  readonly body: Buffer | null;
  /** Ready-made responses by kind (see Content), each with the second of its Date. */
  readonly ready: (Response | null)[] = [null, null, null];
  readonly readySecond: number[] = [-1, -1, -1];
  /** The file's state when it was opened. */
  readonly file: OpenFile['state'];
  /** The entity tag with its quotes, and `W/` while it stands for times and not for bytes. */
  etag: string;
  /** What it was before the digest was there: a client may have it. */
  readonly formerEtag: string | null;
  /** ETag, Last-Modified, Vary: what 304 and 412 need. */
  validatorFields = '';
  /** The fields of a 200 but for its length, type and date. */
  fields = '';
  /** The digest has been asked for, and not come. */
  digestPending = false;
  #digest: string | null;
  readonly #varies: boolean;
  #fd: number;
  /** References: one of the cache, one of each response in flight. */
  #references = 1;

  constructor(opened: OpenFile, contentType: string, varies: boolean, nowMs: number) {
    const { state, coding, body, fd } = opened;
    this.coding = coding;
    this.file = state;
    this.sizeBytes = state.sizeBytes;
    // A date that is yet to come would be later than the response's own (RFC 9110 8.8.2.1).
    this.lastModifiedMs = Math.min(state.modifiedMs, nowMs);
    this.contentType = contentType;
    this.body = body;
    this.#fd = fd;
    this.#varies = varies;
    this.#digest = body === null ? null : textDigest(body);
    this.formerEtag = body === null ? `W/"${textDigest(state.version)}"` : null;
    this.etag = this.formerEtag ?? this.#strongEtag;
    this.whole = new Stretch(this, 0, this.sizeBytes);
    this.#describe();
  }

  get #strongEtag(): string {
    return this.coding === '' ? `"${this.#digest}"` : `"${this.#digest}-${this.coding}"`;
  }

  #describe(): void {
    const encoding = this.coding === '' ? '' : `Content-Encoding: ${this.coding}\r\n`;
    const vary = this.#varies ? 'Vary: Accept-Encoding\r\n' : '';
    this.validatorFields = `ETag: ${this.etag}\r\nLast-Modified: ${formatDate(this.lastModifiedMs)}\r\n${vary}`;
    this.fields = `Accept-Ranges: bytes\r\n${encoding}${this.validatorFields}`;
  }

  /** The digest of its bytes; null while it is not known. */
  get digest(): string | null {
    return this.#digest;
  }

  /** Its bytes, in this version, have been read, and have this digest: the entity tag is strong from now on. */
  vouch(digest: string): void {
    this.#digest = digest;
    this.etag = this.#strongEtag;
    this.#describe();
    // What is ready-made says what it was.
    this.readySecond.fill(-1);
  }

  /** The open descriptor of a large file, -1 for a small one. */
  get fd(): number {
    return this.#fd;
  }

  /** A response is being sent from it. */
  get inUse(): boolean {
    return this.#references > 1;
  }

  retain(): void {
    this.#references++;
  }

  release(): void {
    if (--this.#references > 0 || this.#fd === -1) return;
    closeFile(this.#fd);
    this.#fd = -1;
  }
}
