/** Where new connections to the own public addresses go (rule spread). One table for all engines of the node. */
import assert from 'node:assert/strict';
import { mapMemory } from '../linux/bpf.ts';
import type { Control } from './control.ts';
import { CONTROL_FRONT, CONTROL_SPREAD, SPREAD_BYTES, SPREAD_SIZE } from './layout.ts';

export { SPREAD_SIZE } from './layout.ts';

export class Spread {
  readonly #table: Uint8Array;
  readonly #control: Control;
  readonly #unmap: () => void;

  constructor(fd: number, control: Control) {
    const { view, unmap } = mapMemory(fd, SPREAD_BYTES);
    this.#table = new Uint8Array(view, 0, SPREAD_SIZE);
    this.#control = control;
    this.#unmap = unmap;
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

  /** A front serves nothing itself: what it does not remember goes by the table as well. */
  setFront(on: boolean): void {
    if (on) this.#control.raise(CONTROL_FRONT | CONTROL_SPREAD);
    else this.#control.lower(CONTROL_FRONT);
  }

  close(): void {
    this.#unmap();
  }
}
