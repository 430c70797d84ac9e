/**
 * A function that remembers its last result: for a text or a number that is asked for many times in one millisecond.
 */

/** `make`, but for what it was asked for last, which is remembered. */
export function remembered<T>(make: (asked: number) => T): (asked: number) => T {
  let last: { readonly asked: number; readonly made: T } | null = null;
  return (asked) => {
    if (last?.asked !== asked) last = { asked, made: make(asked) };
    return last.made;
  };
}
