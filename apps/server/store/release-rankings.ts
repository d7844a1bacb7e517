// Rankings that tell releases apart: replies of more than one of them to the same prompt, as people ordered them.
// What they say is worked out elsewhere.
import { sql } from 'kysely';
import type { RankedReply } from '@rapport/rlhf';
import type { Queries } from './database.ts';

/**
 * Standing rankings of replies by several releases, oldest first. What a personal adapter spoke is left out, and a
 * reply that came without its tokens: two releases may have spoken it in turn. Lengths in characters.
 */
export async function releaseRankings(db: Queries): Promise<RankedReply[][]> {
  const rows = await db
    .selectFrom('events')
    .select([
      sql<string>`json_extract(body, '$.ranks')`.as('ranks'),
      sql<string>`(SELECT json_group_array(json_array(
        value ->> '$.provenance.release', value ->> '$.provenance.adapter',
        json_array_length(value, '$.provenance.tokens'), length(value ->> '$.text')
      )) FROM json_each(body, '$.replies'))`.as('replies'),
    ])
    .where('type', '=', 'ranking')
    .where('superseded_by', 'is', null)
    .where(
      sql<number>`(SELECT count(DISTINCT value ->> '$.provenance.release') FROM json_each(body, '$.replies'))`,
      '>',
      1,
    )
    .orderBy('received_at')
    .orderBy('id')
    .execute();
  return rows.map(({ ranks, replies }) => {
    const order = JSON.parse(ranks) as number[];
    return (JSON.parse(replies) as [string, string | null, number, number][]).flatMap(
      ([release, adapter, tokens, length], i) =>
        tokens === 0 || adapter?.startsWith('personal:')
          ? []
          : [{ release, rank: order[i]!, length }],
    );
  });
}
