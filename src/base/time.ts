/** Monotonic time in microseconds, for durations that are logged. */
export function nowUs(): number {
  return Math.round(performance.now() * 1000);
}
