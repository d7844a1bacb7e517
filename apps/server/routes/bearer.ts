// Which device a request speaks for.
import type { Context as Request } from 'hono';
import { Refusal } from '../http/answer.ts';
import type { Database } from '../store/database.ts';
import { deviceOf } from '../store/devices.ts';

/** The device id behind the bearer token. Throws 401 for nobody's token, 403 for a revoked one. */
export async function deviceOfRequest(c: Request, db: Database): Promise<string> {
  const token = /^Bearer ([\w-]{20,200})$/.exec(c.req.header('authorization') ?? '')?.[1];
  const device = token && (await deviceOf(db, token));
  if (!device)
    throw new Refusal(
      401,
      'device/unknown-token',
      'This device is not enrolled.',
      'Enrol again with POST /v1/devices.',
      { 'WWW-Authenticate': 'Bearer' },
    );
  if (!device.revoked) return device.id;
  throw new Refusal(
    403,
    'device/revoked',
    'This device was revoked.',
    'Enrol again with POST /v1/devices.',
  );
}
