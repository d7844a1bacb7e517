// The operator's password: kept as salted scrypt, compared in constant time.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 << 20 };
const BYTES = 32;

const derive = (password: string, salt: Buffer): Promise<Buffer> =>
  new Promise((done, refuse) => {
    scrypt(password.normalize('NFKC'), salt, BYTES, COST, (error, key) =>
      error ? refuse(error) : done(key),
    );
  });

/** What is stored of a password: `salt:key` in hex. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  return `${salt.toString('hex')}:${(await derive(password, salt)).toString('hex')}`;
}

/** Whether `password` is the one behind `stored`. */
export async function isPassword(password: string, stored: string): Promise<boolean> {
  const [salt = '', key = ''] = stored.split(':');
  const expected = Buffer.from(key, 'hex');
  const met = await derive(password, Buffer.from(salt, 'hex'));
  return expected.length === BYTES && timingSafeEqual(met, expected);
}
