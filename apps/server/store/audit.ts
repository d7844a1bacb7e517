// Who did what to the server, for operators. Never what people wrote.
import { inTransaction, type Queries } from './database.ts';

const A_MINUTE_MS = 60_000;

/** Writes one line of the audit log. */
export async function audit(
  db: Queries,
  actor: string,
  action: string,
  detail: Record<string, unknown> = {},
): Promise<void> {
  await db
    .insertInto('audit')
    .values({ at: Date.now(), actor, action, detail: JSON.stringify(detail) })
    .execute();
}

/** Like `audit`, for what somebody can repeat at will: the same line at most once a minute. */
export function auditOnce(
  db: Queries,
  actor: string,
  action: string,
  detail: Record<string, unknown>,
): Promise<void> {
  return inTransaction(db, async (tx) => {
    const said = await tx
      .selectFrom('audit')
      .select('id')
      .where('action', '=', action)
      .where('detail', '=', JSON.stringify(detail))
      .where('at', '>', Date.now() - A_MINUTE_MS)
      .executeTakeFirst();
    if (!said) await audit(tx, actor, action, detail);
  });
}

/** The newest lines first. */
export async function auditLog(db: Queries, limit = 200) {
  const rows = await db
    .selectFrom('audit')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map((row) => ({ ...row, detail: JSON.parse(row.detail) as Record<string, unknown> }));
}
