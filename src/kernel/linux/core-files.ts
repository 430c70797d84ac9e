/** Core files have everything in them that was in memory. */
import { check } from './errors.ts';
import * as libc from './libc.ts';

const PR_SET_DUMPABLE = 4;

/** From now on this process leaves no core file, and only root can read its memory. */
export function forbidCoreFiles(): void {
  check('prctl', libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}
