/**
 * Looks at what a file cache holds, in steps, as an engine may do it between two turns: which documents can be sent
 * without a disk. Small files are in the cache itself. Large ones are open there, and their content is the kernel's
 * affair: a few of their pages are looked for.
 */

import { isInPageCache } from '../kernel/linux/page-cache.ts';
import type { Entry } from '../protocol/http/file-entry.ts';
import type { Representation } from '../protocol/http/representation.ts';

/** Pages of a large file that are looked for. When half of it is there, one look in sixteen takes it for all. */
const PLACES = 4;

/**
 * Yields after each entry that cost a system call, returns the documents found, by hash. A large file that nobody has
 * asked for since the last look is looked at only with `all`, and not again once it was not there: a look makes the
 * kernel take a page for used, or read it.
 */
export function* scanMemory(entries: readonly Entry[], all: boolean): Generator<void, Set<number>> {
  const documents = new Set<number>();
  for (const entry of entries) {
    const { representations, document } = entry;
    if (representations.some(({ body }) => body !== null)) {
      documents.add(document);
      continue;
    }
    const isDue = entry.asked || (all && entry.resident);
    if (isDue) {
      // What is still being sent comes into memory meanwhile.
      entry.asked = representations.some(({ inUse }) => inUse);
      entry.resident = representations.some(isResident);
    }
    if (entry.resident) documents.add(document);
    if (isDue) yield;
  }
  return documents;
}

function isResident({ fd, sizeBytes }: Representation): boolean {
  // The file has left the cache since the look began.
  if (fd === -1) return false;
  for (let place = 0; place < PLACES; place++) {
    // Never the same pages: those that are looked for would stay when the rest has gone.
    const offset = Math.floor(((place + Math.random()) * sizeBytes) / PLACES);
    if (!isInPageCache(fd, offset)) return false;
  }
  return true;
}
