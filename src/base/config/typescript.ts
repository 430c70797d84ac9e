/** Whether this Node can import TypeScript by leaving the types out (22.18, 23.6 or later). */
export function importsTypeScript(): boolean {
  const { typescript } = process.features as { readonly typescript?: string | false };
  return typeof typescript === 'string';
}
