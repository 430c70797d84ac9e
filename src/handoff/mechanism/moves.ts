/** Which mechanisms move whole connections. */
import type { MechanismRow, MechanismSetting } from '../../base/config/config.ts';

/** Whether the connection goes to the node that is to answer. */
export function moves(mechanism: MechanismSetting | MechanismRow): boolean {
  return mechanism === 'migrate' || mechanism === 'drain';
}
