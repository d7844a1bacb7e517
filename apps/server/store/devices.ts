// Devices: enrolled with an opaque token, known by it, revocable.
import { RapportError } from '@rapport/core';
import type { Queries } from './database.ts';
import { hashToken, newToken } from './token.ts';
import { uuidv7 } from './uuid.ts';

/** Enrols a new device; its token is told once and stored only as a hash. */
export async function enrol(db: Queries): Promise<{ device: string; token: string }> {
  const device = uuidv7();
  const token = newToken();
  await db
    .insertInto('devices')
    .values({
      id: device,
      token_hash: hashToken(token),
      enrolled_at: Date.now(),
      last_seen_at: null,
      revoked_at: null,
    })
    .execute();
  return { device, token };
}

/** Makes sure that a device of an import is known; it has no token. */
export async function knowDevice(db: Queries, id: string): Promise<void> {
  await db
    .insertInto('devices')
    .values({
      id,
      token_hash: null,
      enrolled_at: Date.now(),
      last_seen_at: null,
      revoked_at: null,
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
}

/** The device that holds `token`; `revoked` tells that it may no longer speak. Undefined: nobody. */
export async function deviceOf(
  db: Queries,
  token: string,
): Promise<{ id: string; revoked: boolean } | undefined> {
  const row = await db
    .selectFrom('devices')
    .select(['id', 'revoked_at'])
    .where('token_hash', '=', hashToken(token))
    .executeTakeFirst();
  return row && { id: row.id, revoked: row.revoked_at !== null };
}

/** Devices, newest first, with how many of their events are kept. */
export async function listDevices(db: Queries) {
  const rows = await db
    .selectFrom('devices')
    .leftJoin('events', 'events.device', 'devices.id')
    .select(({ fn }) => [
      'devices.id',
      'devices.enrolled_at as enrolledAt',
      'devices.last_seen_at as lastSeenAt',
      'devices.revoked_at as revokedAt',
      fn.count<number>('events.id').as('events'),
    ])
    .groupBy('devices.id')
    .orderBy('devices.enrolled_at', 'desc')
    .execute();
  return rows.map(({ revokedAt, ...row }) => ({ ...row, revoked: revokedAt !== null }));
}

/** When each device enrolled by itself; those known from an import only are not among them. */
export async function enrolments(db: Queries): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('devices')
    .select(['id', 'enrolled_at'])
    .where('token_hash', 'is not', null)
    .execute();
  return new Map(rows.map(({ id, enrolled_at }) => [id, enrolled_at]));
}

/** Refuses everything the device sends from now on. Throws `device/unknown`. */
export async function revokeDevice(db: Queries, id: string): Promise<void> {
  await needDevice(db, id);
  await db
    .updateTable('devices')
    .set({ revoked_at: Date.now() })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .execute();
}

/** Throws `device/unknown` when there is no such device. */
export async function needDevice(db: Queries, id: string): Promise<void> {
  const found = await db.selectFrom('devices').select('id').where('id', '=', id).executeTakeFirst();
  if (found) return;
  throw new RapportError(
    'device/unknown',
    `There is no device ${id}.`,
    'See rapport device list for the devices that are known.',
  );
}
