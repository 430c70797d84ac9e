/** The clients that a booster has, by their origin. */
export class BoostedClients {
  readonly #originOf: (connection: { readonly fd: number }) => number;
  /** By their sockets. */
  readonly #origins = new Map<number, number>();
  readonly #counts = new Map<number, number>();

  constructor(originOf: (connection: { readonly fd: number }) => number) {
    this.#originOf = originOf;
  }

  accepted(fd: number): void {
    const origin = this.#originOf({ fd });
    this.#origins.set(fd, origin);
    this.#counts.set(origin, (this.#counts.get(origin) ?? 0) + 1);
  }

  closed(fd: number): void {
    const origin = this.#origins.get(fd);
    if (origin === undefined) return;
    this.#origins.delete(fd);
    const count = this.#counts.get(origin)! - 1;
    if (count > 0) this.#counts.set(origin, count);
    else this.#counts.delete(origin);
  }

  /** By index of the origin; -1: of clients that had left before they were accepted. */
  get counts(): ReadonlyMap<number, number> {
    return this.#counts;
  }
}
