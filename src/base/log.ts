/** Where a line of the log goes: the main thread writes it. */
export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Record<string, unknown>,
) => void;
