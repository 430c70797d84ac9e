/** Which mechanisms move whole connections. */
import type { MechanismSetting } from '../../base/config/config.ts';

/** Whether the connection goes to the node that is to answer. */
export function moves(mechanism: MechanismSetting): boolean {
  return mechanism === 'migrate' || mechanism === 'drain';
}
