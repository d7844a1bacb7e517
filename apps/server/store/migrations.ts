// The schema's history. A migration that was released is never changed; a new one follows it.
import { sql, type Kysely, type Migration } from 'kysely';

const migrationOf = (statements: readonly string[]): Migration => ({
  async up(db: Kysely<unknown>) {
    for (const statement of statements) await sql.raw(statement).execute(db);
  },
});

const FIRST = [
  `create table devices (id text primary key, token_hash text unique, enrolled_at bigint not null,
     last_seen_at bigint, revoked_at bigint)`,
  `create table events (device text not null, id text not null, type text not null, at text not null,
     received_at bigint not null, release text not null, supersedes text, superseded_by text,
     consent text not null, hash text not null, body text not null, snapshot_id text,
     primary key (device, id))`,
  `create index events_by_snapshot on events (snapshot_id, type)`,
  `create index events_by_supersedes on events (device, supersedes)`,
  `create index events_by_arrival on events (received_at)`,
  `create table tombstones (device text not null, id text not null, erased_at bigint not null,
     primary key (device, id))`,
  `create table receipts (id text primary key, device text not null, events integer not null,
     datasets text not null, releases text not null, erased_at bigint not null)`,
  `create table datasets (id text primary key, digest text not null, votes integer not null,
     rankings integer not null, edits integer not null, devices integer not null,
     created_at bigint not null, flagged_at bigint)`,
  `create table runs (id text primary key, method text not null, config text not null,
     dataset text not null, publish text not null, status text not null, attempt integer not null,
     owner_pid integer, release text, gate text, evaluation text, error text,
     created_at bigint not null, finished_at bigint)`,
  `create table releases (id text primary key, envelope text not null, run text, dataset text,
     created_at bigint not null, flagged_at bigint)`,
  `create table channels (version integer primary key, envelope text not null, reason text not null,
     created_at bigint not null)`,
  `create table roots (version integer primary key, envelope text not null)`,
  `create table blobs (digest text primary key, path text, size bigint not null, chunks text not null)`,
  `create table bases (digest text primary key, manifest text not null)`,
  `create table settings (key text primary key, value text not null)`,
  `create table sessions (token_hash text primary key, expires_at bigint not null)`,
  `create table audit (id integer primary key autoincrement, at bigint not null, actor text not null,
     action text not null, detail text not null)`,
];

/** An event is known by its id alone: a device that enrolled anew sends what it had under its new name. */
const ONE_ROW_PER_EVENT = [
  `delete from events where exists (select 1 from events first
     where first.id = events.id and first.hash = events.hash
       and (first.received_at < events.received_at
         or (first.received_at = events.received_at and first.device < events.device)))`,
  `create index events_by_id on events (id)`,
  `drop index events_by_supersedes`,
  `create index events_by_supersedes on events (supersedes)`,
  `update events set superseded_by = (select min(newer.id) from events newer
       where newer.supersedes = events.id and newer.type <> 'erase')
     where superseded_by is null and type <> 'erase'`,
  `create index tombstones_by_id on tombstones (id)`,
];

/** How many judgements of a device a release learned from; for releases so far, what their datasets held. */
const LEARNED = [
  `create table learned (release text not null, device text not null, judgements integer not null,
     primary key (release, device))`,
  `insert into learned select releases.id, events.device, count(*) from releases
     join datasets mine on mine.id = releases.dataset
     join datasets taken on taken.created_at <= mine.created_at
     join events on events.snapshot_id = taken.id
     where events.superseded_by is null group by releases.id, events.device`,
];

/** Why the release of a run was not published although it passed its gate. */
const HELD = [`alter table runs add column held text`];

/** When the owner of a run last said that it works on it: after a restart, its process id may be anybody's. */
const ALIVE = [`alter table runs add column alive_at bigint`];

/** When a file that is served from where it lies was last written; those without are hashed again. */
const FILE_TIMES = [`alter table blobs add column modified_at bigint`];

export const migrations: Record<string, Migration> = {
  '001-first': migrationOf(FIRST),
  '002-one-row-per-event': migrationOf(ONE_ROW_PER_EVENT),
  '003-learned': migrationOf(LEARNED),
  '004-held': migrationOf(HELD),
  '005-alive': migrationOf(ALIVE),
  '006-file-times': migrationOf(FILE_TIMES),
};
