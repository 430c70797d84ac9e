/** Which site a request is for, by its Host (RFC 9110 section 7.2). */
import type { SiteConfig } from './config.ts';

export class SiteTable {
  readonly #exact = new Map<string, SiteConfig>();
  readonly #suffixes = new Map<string, SiteConfig>();
  #fallback: SiteConfig | undefined;

  constructor(sites: readonly SiteConfig[]) {
    for (const site of sites) {
      for (const host of site.hosts) {
        if (host === '*') this.#fallback = site;
        else if (host.startsWith('*.')) this.#suffixes.set(withoutDot(host.slice(1)), site);
        else this.#exact.set(withoutDot(host), site);
      }
    }
  }

  /**
   * The site for a Host value, which may carry a port: by exact name, then by the longest `*.DOMAIN`, then the site
   * with `*`. Undefined when none is for it.
   */
  find(host: string): SiteConfig | undefined {
    if (this.#exact.size === 0 && this.#suffixes.size === 0) return this.#fallback;
    const name = withoutDot(host.toLowerCase().replace(/:\d*$/, ''));
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const site = this.#suffixes.get(name.slice(dot));
      if (site !== undefined) return site;
    }
    return this.#fallback;
  }
}

/** A trailing dot marks a fully qualified name; it is the same host. */
function withoutDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name;
}
