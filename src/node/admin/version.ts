/** The version of this Baton, from its package.json. */
import { readFileSync } from 'node:fs';

/** The package's root is three levels above this file as source, four as built. */
const CANDIDATES = ['../../../package.json', '../../../../package.json'];

function read(): string {
  for (const path of CANDIDATES) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (name === 'baton' && typeof version === 'string') return version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return 'unknown';
}

export const VERSION = read();
