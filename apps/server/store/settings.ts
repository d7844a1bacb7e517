// Small values the server remembers: the base model, the operator's password, the schedule.
import type { Queries } from './database.ts';

export type SettingKey = 'base' | 'setup-token' | 'password' | 'schedule';

/** The value remembered under `key`, or undefined. */
export async function recall(db: Queries, key: SettingKey): Promise<string | undefined> {
  const row = await db
    .selectFrom('settings')
    .select('value')
    .where('key', '=', key)
    .executeTakeFirst();
  return row?.value;
}

/** Remembers `value` under `key`; null forgets it. */
export async function remember(db: Queries, key: SettingKey, value: string | null): Promise<void> {
  if (value === null) await db.deleteFrom('settings').where('key', '=', key).execute();
  else
    await db
      .insertInto('settings')
      .values({ key, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute();
}
