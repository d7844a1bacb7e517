// Who did what to the server, for operators. Never what people wrote.
import type { Queries } from './database.ts';

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
