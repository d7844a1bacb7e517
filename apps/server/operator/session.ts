// Who is the operator: a setup token at first, then a password, then a session in a cookie.
import { timingSafeEqual } from 'node:crypto';
import type { Context } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { Refusal } from '../http/answer.ts';
import { audit, auditOnce } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { recall, remember } from '../store/settings.ts';
import { hashToken, newToken } from '../store/token.ts';
import { hashPassword, isPassword } from './password.ts';

const COOKIE = 'rapport-operator';
const LIFE_MS = 12 * 3_600_000;

/** Prints a setup token while there is no password; each start makes a new one. */
export async function announceSetup(
  db: Database,
  print: (text: string) => void = (text) => console.log(text),
): Promise<void> {
  if (await recall(db, 'password')) return;
  const token = newToken();
  await remember(db, 'setup-token', hashToken(token));
  print(`setup token for the console at /operator: ${token}`);
}

/** Turns the setup token into a password. Throws a 403 refusal. */
export async function setUp(db: Database, token: string, password: string): Promise<void> {
  const hash = await hashPassword(password);
  const fits = await db.transaction().execute(async (tx) => {
    const stored = await recall(tx, 'setup-token');
    if (!stored || (await recall(tx, 'password')) || !sameHash(stored, hashToken(token)))
      return false;
    await remember(tx, 'password', hash);
    await remember(tx, 'setup-token', null);
    await audit(tx, 'operator', 'setup');
    return true;
  });
  if (fits) return;
  throw new Refusal(
    403,
    'operator/bad-setup-token',
    'That is not the setup token, or it was used already.',
    'Restart the server: it prints a new one while there is no password.',
  );
}

/** Throws a 403 refusal unless `password`, which came from `network`, is the operator's. */
export async function checkPassword(
  db: Database,
  password: string,
  network: string,
): Promise<void> {
  const stored = await recall(db, 'password');
  if (stored && (await isPassword(password, stored))) return;
  await auditOnce(db, 'operator', 'login.refused', { network });
  throw new Refusal(403, 'operator/bad-password', 'Wrong password.', 'Try again.');
}

/** Begins a session and hands out its cookie. */
export async function beginSession(c: Context, db: Database): Promise<void> {
  const token = newToken();
  const expiresAt = Date.now() + LIFE_MS;
  await db.deleteFrom('sessions').where('expires_at', '<', Date.now()).execute();
  await db
    .insertInto('sessions')
    .values({ token_hash: hashToken(token), expires_at: expiresAt })
    .execute();
  await audit(db, 'operator', 'login');
  setCookie(c, COOKIE, token, {
    httpOnly: true,
    sameSite: 'Strict',
    path: '/v1/operator',
    secure: c.req.header('x-forwarded-proto') === 'https',
    maxAge: LIFE_MS / 1000,
  });
}

/** Ends the session of a request. */
export async function endSession(c: Context, db: Database): Promise<void> {
  const token = getCookie(c, COOKIE);
  if (token) await db.deleteFrom('sessions').where('token_hash', '=', hashToken(token)).execute();
  deleteCookie(c, COOKIE, { path: '/v1/operator' });
}

/** Whether a request comes with a session that lives. */
export async function isSignedIn(c: Context, db: Database): Promise<boolean> {
  const token = getCookie(c, COOKIE);
  if (!token) return false;
  const row = await db
    .selectFrom('sessions')
    .select('expires_at')
    .where('token_hash', '=', hashToken(token))
    .executeTakeFirst();
  return row !== undefined && row.expires_at > Date.now();
}

/** Whether the operator has no password yet. */
export const needsSetup = async (db: Database) => (await recall(db, 'password')) === undefined;

const sameHash = (a: string, b: string) =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
