/** Tests that make network namespaces need root. Where it is missing they are skipped by name; in CI they fail. */
export function skipUnlessRoot(): { skip: string | false } {
  if (process.geteuid?.() === 0) return { skip: false };
  if (process.env.CI === 'true') throw new Error('these tests need root, and CI=true: run them as root');
  return { skip: 'SKIPPED: needs root (network namespaces)' };
}
