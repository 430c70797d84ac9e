/** A look at something large, in steps between two turns of the loop. */

/** Goes on with it, for `limit` steps at most. Returns what it has found; null: it is not over. */
export function goOn<Found extends object>(look: Generator<void, Found>, limit: number): Found | null {
  for (let i = 0; i < limit; i++) {
    const step = look.next();
    if (step.done) return step.value;
  }
  return null;
}
