/** The kernel's own counters of a namespace: /proc/net/snmp and netstat. */

/**
 * Parses /proc/net/snmp and /proc/net/netstat: pairs of lines, names and then values, both after a prefix such as
 * `Tcp:`. Gives `TcpRetransSegs`, `TcpExtPAWSEstab`, ... as nstat(8) names them.
 */
export function parseCounters(text: string): Record<string, number> {
  const counters: Record<string, number> = {};
  const lines = text.split('\n');
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [prefix, ...names] = lines[i].trim().split(/\s+/);
    const [same, ...values] = lines[i + 1].trim().split(/\s+/);
    if (prefix === '' || prefix !== same) continue;
    for (const [index, name] of names.entries()) counters[prefix.slice(0, -1) + name] = Number(values[index]);
  }
  return counters;
}
