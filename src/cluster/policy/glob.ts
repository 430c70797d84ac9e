/**
 * Path patterns: `*` stands for any characters but '/', `**` for any characters at all, `?` for one but '/'. A
 * pattern has to match the whole path, as sent (still percent-encoded).
 */
export function globToRegExp(glob: string): RegExp {
  let source = '';
  for (let at = 0; at < glob.length; at++) {
    const character = glob[at];
    if (character === '*' && glob[at + 1] === '*') {
      source += '.*';
      while (glob[at + 1] === '*') at++;
    } else if (character === '*') source += '[^/]*';
    else if (character === '?') source += '[^/]';
    else source += character.replace(/[\\^$.*+?()[\]{}|]/, '\\$&');
  }
  return new RegExp(`^${source}$`, 's');
}
