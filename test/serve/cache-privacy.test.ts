/** Never one user's response to another, never one older than its origin allows: any requests, any responses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BEGIN_MS, CacheStand, ok, type Reply } from './cache-stand.ts';

const RUNS = 60;
const BATCHES = 8;

/** Who asks: each with a cookie, some with Authorization; in one of two languages. */
const user = fc.record({
  name: fc.constantFrom('ann', 'bob', 'eve'),
  signed: fc.boolean(),
  language: fc.constantFrom('de', 'fr'),
  target: fc.constantFrom('/x', '/y'),
  known: fc.boolean(),
});

/** What the origin says of its responses while a batch of requests lasts. */
const manner = fc.record({
  control: fc.constantFrom(
    'max-age=10',
    'public, max-age=10',
    's-maxage=20, max-age=1',
    'private, max-age=10',
    'no-store',
    'no-cache',
    'max-age=10, must-revalidate',
    'max-age=5, stale-while-revalidate=10',
    'public, max-age=5, stale-if-error=30',
    '',
  ),
  cookie: fc.boolean(),
  /** What the body depends on is said. */
  vary: fc.constantFrom('', 'Accept-Language', 'Cookie', 'Accept-Language, Cookie', '*'),
  etag: fc.boolean(),
  ageSeconds: fc.integer({ min: 0, max: 12 }),
  fails: fc.boolean(),
});

const batch = fc.record({
  manner,
  users: fc.array(user, { minLength: 1, maxLength: 5 }),
  seconds: fc.nat(12),
});

type Manner = typeof manner extends fc.Arbitrary<infer T> ? T : never;
type User = typeof user extends fc.Arbitrary<infer T> ? T : never;

/** For how many seconds a response may be used, as its manner says; 0: by nobody but whom it was made for. */
function secondsOf({ control, ageSeconds, fails }: Manner, isError: boolean): number {
  const of = (name: string) => Number(new RegExp(`(?:^|, )${name}=(\\d+)`).exec(control)?.[1] ?? 0);
  const fresh = of('s-maxage') || of('max-age');
  return fresh + of('stale-while-revalidate') + (isError || fails ? of('stale-if-error') : 0) - ageSeconds;
}

function check(
  reply: Reply,
  { name, signed, language }: User,
  vouched: ReadonlyMap<string, number>,
  nowSeconds: number,
): void {
  if (reply.status >= 500) return;
  const made = JSON.parse(reply.body) as {
    name: string;
    signed: boolean;
    language: string;
    at: number;
    manner: Manner;
  };
  const { control, cookie, vary } = made.manner;
  const isOwn = made.name === name && made.language === language && made.signed === signed;
  if (vary.includes('Accept-Language') || vary === '*') assert.equal(made.language, language);
  if (vary.includes('Cookie') || vary === '*') assert.equal(made.name, name);
  const isShared = !cookie && !/private|no-store/.test(control) && control !== '' && vary !== '*';
  const isOpen = /public|s-maxage|must-revalidate/.test(control);
  if (!isShared || (made.signed && !isOpen))
    assert.ok(isOwn, `${name} gets the response of ${made.name}: ${control}`);
  if (signed && !made.signed)
    assert.ok(isOpen, 'what nobody in particular got is not for one with Authorization');
  const oldSeconds = nowSeconds - Math.max(made.at, vouched.get(reply.field('etag') ?? '') ?? 0);
  if (oldSeconds > 0 && reply.cache !== 'revalidated' && !/no-cache/.test(control))
    assert.ok(
      oldSeconds <= secondsOf(made.manner, true),
      `${oldSeconds} s old: ${control}, Age ${made.manner.ageSeconds}`,
    );
}

test('any requests, any responses', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: BATCHES }), async (batches) => {
      let now: Manner = batches[0].manner;
      /** When the origin has vouched for a response last. */
      const vouched = new Map<string, number>();
      const stand: CacheStand = await CacheStand.up((got) => {
        const { control, cookie, vary, etag, ageSeconds, fails } = now;
        const at = (stand.wallMs - BEGIN_MS) / 1000;
        if (fails) return 'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n';
        const name = got.fields.get('cookie')!;
        const language = got.fields.get('accept-language')!;
        const signed = got.fields.has('authorization');
        // It vouches for what was said of the response as well.
        const tag = `"${Buffer.from(JSON.stringify([got.target, name, language, signed, now])).toString('base64url')}"`;
        const said = [
          control === '' ? '' : `Cache-Control: ${control}\r\n`,
          cookie ? `Set-Cookie: ${name}\r\n` : '',
          vary === '' ? '' : `Vary: ${vary}\r\n`,
          etag ? `ETag: ${tag}\r\n` : '',
          ageSeconds > 0 ? `Age: ${ageSeconds}\r\n` : '',
        ].join('');
        if (etag && got.fields.get('if-none-match') === tag) {
          vouched.set(tag, at);
          return `HTTP/1.1 304 Not Modified\r\n${said}\r\n`;
        }
        return ok(said, JSON.stringify({ name, language, signed, at, manner: now }));
      });
      try {
        for (const { manner: next, users, seconds } of batches) {
          now = next;
          const asked = users.map(async (one) => {
            const { name, signed, language, target, known } = one;
            const fields = `Cookie: ${name}\r\nAccept-Language: ${language}\r\n${signed ? `Authorization: ${name}\r\n` : ''}`;
            const reply = await stand.ask(target, {
              fields: known ? `${fields}Cache-Control: no-cache\r\n` : fields,
            });
            check(reply, one, vouched, (stand.wallMs - BEGIN_MS) / 1000);
          });
          await Promise.all(asked);
          await stand.pass(seconds);
        }
      } finally {
        stand.down();
      }
    }),
    { numRuns: RUNS },
  );
});
