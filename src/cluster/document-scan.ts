/**
 * The documents below a root directory, looked at in small steps so that an engine may do it between two turns: names
 * as Content serves them (no hidden ones but a leading `.well-known`), with size and time of change.
 */
import { type Dir, type Dirent, opendirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Document } from '../protocol/backplane/frames.ts';
import { MAX_DOCUMENT_PATH_BYTES } from '../protocol/backplane/frames.ts';
import { MAX_DOCUMENTS } from './catalogue.ts';

const WELL_KNOWN = '.well-known';
const MAX_DEPTH = 64;

/** What one look at the whole tree found. */
export interface Found {
  readonly documents: Map<string, Document>;
  /** Something was left out: too many, too deep, not readable, or behind a link to a directory. */
  readonly partial: boolean;
}

/** Walks the tree; yields after each entry that cost a system call, returns what it found. */
export function* scanDocuments(root: string): Generator<void, Found> {
  const documents = new Map<string, Document>();
  let partial = false;
  const directories: Array<{ name: string; depth: number }> = [{ name: '', depth: 0 }];
  for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
    const directory = open(join(root, next.name));
    if (directory === null) {
      // A root that is not there holds nothing; a directory that cannot be read may hold something.
      partial ||= next.name !== '';
      continue;
    }
    try {
      for (let entry = read(directory); entry !== null; entry = read(directory)) {
        const name = next.name === '' ? entry.name : `${next.name}/${entry.name}`;
        if (entry.name.startsWith('.') && name !== WELL_KNOWN) continue;
        yield;
        if (entry.isDirectory()) {
          if (next.depth < MAX_DEPTH) directories.push({ name, depth: next.depth + 1 });
          else partial = true;
          continue;
        }
        const stats = look(join(root, name));
        if (stats === null) continue;
        const fits = documents.size < MAX_DOCUMENTS && Buffer.byteLength(name) <= MAX_DOCUMENT_PATH_BYTES;
        if (stats.isFile() && fits)
          documents.set(name, { sizeBytes: stats.size, modifiedMs: Math.max(0, Math.floor(stats.mtimeMs)) });
        else if (stats.isFile() || stats.isDirectory()) partial = true;
      }
    } finally {
      directory.closeSync();
    }
  }
  return { documents, partial };
}

function open(path: string): Dir | null {
  try {
    return opendirSync(path);
  } catch {
    return null;
  }
}

function read(directory: Dir): Dirent | null {
  try {
    return directory.readSync();
  } catch {
    return null;
  }
}

function look(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null;
}
