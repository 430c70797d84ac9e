/**
 * Changes of a running node: the configuration is read again, and its policies and certificates are given to the
 * engines. Whatever is wrong with it, the old one stays in force.
 *
 *     SIGHUP -> read, check -> same but for policies? -> import their modules here -> every engine takes them
 *                                                     `-> read certificates -> every engine takes those that are right
 *     files of certificates have changed -> the same
 */

import { changedPolicies, needRestart } from '../../base/config/changes.ts';
import type { ClusterConfig, SiteConfig } from '../../base/config/config.ts';
import { loadConfig } from '../../base/config/load.ts';
import { tryPolicies } from '../../cluster/policy/trial.ts';
import type { ReloadStatus } from '../admin/api.ts';
import type { EngineClient } from '../admin/engines.ts';
import type { Certificates, Renewal } from './certificates.ts';

const MAX_PLACES_SHOWN = 5;

/** The change cannot be made while the node runs. */
export class ReloadError extends Error {
  override readonly name = 'ReloadError';
  readonly code = 'RESTART_NEEDED';
}

/** SIGHUP, from the first moment on: one that comes while the node starts waits until it can be followed. */
export class Hangups {
  #reload: (() => void) | null = null;
  #waits = false;
  readonly #heard = () => {
    if (this.#reload === null) this.#waits = true;
    else this.#reload();
  };

  constructor() {
    process.on('SIGHUP', this.#heard);
  }

  serve(reload: () => void): void {
    this.#reload = reload;
    if (this.#waits) reload();
  }

  close(): void {
    process.off('SIGHUP', this.#heard);
  }
}

export class Reloader {
  #config: ClusterConfig;
  readonly #engines: readonly EngineClient[];
  readonly #certificates: Certificates;
  readonly #renewed: (faults: Renewal['faults']) => void;
  #last: Promise<unknown> = Promise.resolve();
  #status: ReloadStatus = { done: 0, failed: 0, error: null };

  /** `renewed`: called when certificates were read, and the engines have taken those that are right. */
  constructor(
    config: ClusterConfig,
    engines: readonly EngineClient[],
    certificates: Certificates,
    renewed: (faults: Renewal['faults']) => void,
  ) {
    this.#config = config;
    this.#engines = engines;
    this.#certificates = certificates;
    this.#renewed = renewed;
  }

  get status(): ReloadStatus {
    return this.#status;
  }

  /**
   * Reads the configuration again. Resolves to the names of the sites whose policy it has changed; a module counts
   * as changed when the configuration does, and is loaded anew in any case. Rejects with what is wrong: ConfigError,
   * ReloadError, PolicyError, AdminError. One reload at a time.
   */
  reload(): Promise<string[]> {
    const running = this.#last.then(() => this.#reload());
    this.#last = running.catch(() => {});
    return running;
  }

  /** Reads certificates again, if their files have changed. Rejects with AdminError. */
  renew(): Promise<void> {
    if (!this.#certificates.haveChanged) return Promise.resolve();
    const running = this.#last.then(() => this.#renew(this.#config.sites));
    this.#last = running.catch(() => {});
    return running;
  }

  async #renew(sites: readonly SiteConfig[]): Promise<void> {
    const { credentials, faults } = this.#certificates.read(sites);
    if (credentials.length === 0) return;
    try {
      await Promise.all(this.#engines.map((engine) => engine.useCertificates(credentials)));
    } finally {
      this.#certificates.taken();
    }
    this.#renewed(faults);
  }

  async #reload(): Promise<string[]> {
    const { done, failed } = this.#status;
    try {
      const changed = await this.#take(loadConfig(this.#config.file));
      this.#status = { done: done + 1, failed, error: null };
      return changed;
    } catch (error) {
      this.#status = { done, failed: failed + 1, error: (error as Error).message };
      throw error;
    }
  }

  async #take(next: ClusterConfig): Promise<string[]> {
    const places = needRestart(this.#config, next);
    if (places.length > 0) {
      const more = places.length > MAX_PLACES_SHOWN ? ` and ${places.length - MAX_PLACES_SHOWN} more` : '';
      const shown = places.slice(0, MAX_PLACES_SHOWN).join(', ');
      throw new ReloadError(
        `a change of ${shown}${more} needs a restart of every node; only policies, certificates and boost.perAddress, perNetwork can be changed while it runs`,
      );
    }
    await tryPolicies(next.sites);
    await Promise.all(this.#engines.map((engine) => engine.usePolicies(next)));
    await this.#renew(next.sites);
    const changed = changedPolicies(this.#config.sites, next.sites);
    this.#config = next;
    return changed;
  }
}
