/** Processor time of the calling thread. */
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

const CLOCK_THREAD_CPUTIME_ID = 3;
/** struct timespec: seconds, nanoseconds; 64 bits each. */
const timespec = allocate(16);

/** Milliseconds that the thread has run so far, in user and kernel mode; with a fraction. */
export function threadCpuMs(): number {
  check('clock_gettime', libc.clockGettime(CLOCK_THREAD_CPUTIME_ID, timespec.address));
  const seconds = Number(timespec.view.getBigInt64(0, true));
  return seconds * 1000 + Number(timespec.view.getBigInt64(8, true)) / 1e6;
}
