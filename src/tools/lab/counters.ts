/** The kernel's own counters of a namespace: /proc/net/snmp, netstat and snmp6. */

/**
 * Parses /proc/net/snmp and /proc/net/netstat: pairs of lines, names and then values, both after a prefix such as
 * `Tcp:`; and /proc/net/snmp6, a name and a value in each line. Gives `TcpRetransSegs`, `TcpExtPAWSEstab`,
 * `Icmp6InPktTooBigs`, ... as nstat(8) names them.
 */
export function parseCounters(text: string): Record<string, number> {
  const counters: Record<string, number> = {};
  let before: string[] = [];
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const [prefix, ...values] = fields;
    if (!prefix.endsWith(':')) {
      if (fields.length === 2) counters[prefix] = Number(values[0]);
    } else if (before[0] === prefix) {
      for (const [i, value] of values.entries())
        counters[prefix.slice(0, -1) + before[i + 1]] = Number(value);
      before = [];
    } else before = fields;
  }
  return counters;
}
