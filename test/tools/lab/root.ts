/**
 * Tests that make network namespaces, or load eBPF programs, need root: they say so with this. Where it is missing, or
 * BATON_ROOTLESS=1 (`npm run check`), they are skipped by name; with CI=true they fail instead.
 */
export function skipUnlessRoot(): { skip: string | false } {
  if (process.env.BATON_ROOTLESS === '1') return { skip: 'SKIPPED: needs root, and BATON_ROOTLESS=1' };
  if (process.geteuid?.() === 0) return { skip: false };
  if (process.env.CI === 'true') throw new Error('these tests need root, and CI=true: run them as root');
  return { skip: 'SKIPPED: needs root (network namespaces)' };
}
