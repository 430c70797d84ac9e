/** CLOCK_MONOTONIC, which the kernel's timestamps and the router's leases go by. */

/** performance.now() counts from the start of this thread; this is CLOCK_MONOTONIC at that moment, in ms. */
function clockOrigin(): number {
  let best = Number.POSITIVE_INFINITY;
  let origin = 0;
  for (let i = 0; i < 16; i++) {
    const before = performance.now();
    const now = Number(process.hrtime.bigint()) / 1e6;
    const after = performance.now();
    if (after - before < best) {
      best = after - before;
      origin = now - (before + after) / 2;
    }
  }
  return origin;
}

const MONOTONIC_ORIGIN_MS = clockOrigin();

/** CLOCK_MONOTONIC in whole ms, as the kernel counts for TSval; no system call, no allocation. */
export function monotonicMs(): number {
  return Math.floor(MONOTONIC_ORIGIN_MS + performance.now());
}
