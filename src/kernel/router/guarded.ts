/** The public addresses that an attached router guards, read from its own map: its process need not be alive. */
import { formatAddress } from '../../base/address.ts';
import { attachedProgram, KernelMap, TC_EGRESS, TC_INGRESS } from '../linux/bpf.ts';
import { openMapNamed, programInfo } from '../linux/bpf-info.ts';
import { interfaceIndex } from '../linux/interface.ts';
import * as libc from '../linux/libc.ts';
import { PUBLIC_OWN } from './layout.ts';

export interface GuardedAddress {
  readonly address: string;
  /** The interface that it is on while a node runs: the router's for the node's own, lo for the others'. */
  readonly device: string;
}

/**
 * The addresses that a router guards which is attached to `interfaceName`, as its maps say. Throws SystemError without
 * CAP_SYS_ADMIN.
 */
export function guardedBy(interfaceName: string, mapIds: readonly number[]): GuardedAddress[] {
  const fd = openMapNamed(mapIds, 'publics');
  if (fd < 0) return [];
  try {
    const map = new KernelMap(fd, 16, 4);
    return map.keys().map((key) => {
      key.copy(map.key.bytes);
      map.lookup();
      const isOwn = map.value.bytes.readUInt32LE(0) === PUBLIC_OWN;
      return { address: formatAddress(key), device: isOwn ? interfaceName : 'lo' };
    });
  } finally {
    libc.close(fd);
  }
}

/**
 * The addresses that the router on an interface guards; none without a router. Throws SystemError as guardedBy does.
 */
export function guardedOn(interfaceName: string): GuardedAddress[] {
  const index = interfaceIndex(interfaceName);
  const program = attachedProgram(index, TC_INGRESS) || attachedProgram(index, TC_EGRESS);
  return program === 0 ? [] : guardedBy(interfaceName, programInfo(program).mapIds);
}
