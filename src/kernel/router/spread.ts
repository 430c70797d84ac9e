/** Where new connections to the own public addresses go (rule spread). One table for all engines of the node. */
import assert from 'node:assert/strict';
import { mapMemory } from '../linux/bpf.ts';
import type { Control } from './control.ts';
import { CONTROL_FRONT, CONTROL_SPREAD, SPREAD_BYTES, SPREAD_SIZE } from './layout.ts';

export { SPREAD_SIZE } from './layout.ts';

export class Spread {
  readonly #table: Uint8Array;
  readonly #heirs: Uint8Array;
  readonly #control: Control;
  readonly #unmap: Array<() => void>;

  /** `fd`, `heirsFd`: descriptors of the two tables. */
  constructor(fd: number, heirsFd: number, control: Control) {
    const table = mapMemory(fd, SPREAD_BYTES);
    const heirs = mapMemory(heirsFd, SPREAD_BYTES);
    this.#table = new Uint8Array(table.view, 0, SPREAD_SIZE);
    this.#heirs = new Uint8Array(heirs.view, 0, SPREAD_SIZE);
    this.#control = control;
    this.#unmap = [table.unmap, heirs.unmap];
  }

  /**
   * Puts a table in force: SPREAD_SIZE owners (node index + 1; 0: this node), looked up by a hash of the connection's
   * endpoints. Connections that have been sent somewhere stay there.
   */
  write(table: Uint8Array): void {
    assert.equal(table.length, SPREAD_SIZE);
    this.#table.set(table);
    if (table.some((owner) => owner !== 0)) this.#control.raise(CONTROL_SPREAD);
  }

  /** The table for when nobody listens here any more (rule heirs): the same, 0 for a connection that is then refused. */
  writeHeirs(table: Uint8Array): void {
    assert.equal(table.length, SPREAD_SIZE);
    this.#heirs.set(table);
  }

  /** A front serves nothing itself: what it does not remember goes by the table as well. */
  setFront(on: boolean): void {
    if (on) this.#control.raise(CONTROL_FRONT | CONTROL_SPREAD);
    else this.#control.lower(CONTROL_FRONT);
  }

  /** Nodes that cannot be reached: a SYN that one of them got goes by the table when it comes again. */
  setAway(nodes: readonly number[]): void {
    this.#control.setAway(nodes.reduce((bits, node) => bits | (1n << BigInt(node + 1)), 0n));
  }

  close(): void {
    for (const unmap of this.#unmap) unmap();
  }
}
