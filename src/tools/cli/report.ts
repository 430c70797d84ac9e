/** Errors as the user sees them. */
import { ConfigError } from '../../base/config/error.ts';
import { LabError } from '../lab/error.ts';

/** Prints the error to standard error and returns the exit code for it. A stack only for what nobody expected. */
export function reportError(error: unknown): number {
  if (error instanceof ConfigError) console.error(error.message);
  else if (error instanceof LabError) console.error(`baton: ${error.message}`);
  else if (error instanceof Error && 'code' in error) console.error(`baton: ${error.message}`);
  else console.error('baton: unexpected error', error);
  return 1;
}
