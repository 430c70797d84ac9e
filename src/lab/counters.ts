/** The kernel's own counters of a namespace: /proc/net/netstat, snmp and snmp6. */

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

/** What grew from one reading to a later one; counters that did not are left out. */
export function counterGrowth(
  before: Record<string, number>,
  after: Record<string, number>,
): Record<string, number> {
  const growth: Record<string, number> = {};
  for (const [name, value] of Object.entries(after)) {
    const grown = value - (before[name] ?? 0);
    if (grown !== 0) growth[name] = grown;
  }
  return growth;
}
