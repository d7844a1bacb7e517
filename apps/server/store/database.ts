// One SQLite file behind Kysely. A commit is on the disk before it is answered: WAL with
// synchronous=FULL. Every transaction takes the write lock at once, so none fails half way because
// the command line wrote at the same time.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompiledQuery,
  Kysely,
  Migrator,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type Driver,
  type Migration,
  type SqliteDatabase,
  type SqliteDialectConfig,
  type Transaction,
} from 'kysely';
import Libsql from 'libsql';
import { RapportError } from '@rapport/core';
import { migrations } from './migrations.ts';
import type { Tables } from './schema.ts';

export type Database = Kysely<Tables>;
/** A database, or a transaction on it. */
export type Queries = Kysely<Tables> | Transaction<Tables>;

/** `work` in the transaction that `db` is, or in one of its own: all of it or nothing. */
export const inTransaction = <T>(db: Queries, work: (tx: Queries) => Promise<T>): Promise<T> =>
  db.isTransaction ? work(db) : db.transaction().execute(work);

const WAIT_FOR_LOCK_MS = 10_000;
const LOOK_AGAIN_MS = 10;

/**
 * Opens, and at first makes, the store in `folder`, migrated to the end of `history` or left as it was.
 * Throws `store/*`.
 */
export async function openDatabase(
  folder: string,
  history: Record<string, Migration> = migrations,
): Promise<Database> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'rapport.db');
  const db = new Kysely<Tables>({ dialect: new LibsqlDialect({ database: await openFile(path) }) });
  const { error } = await new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(history) },
  }).migrateToLatest();
  if (!error) return db;
  await db.destroy();
  throw new RapportError(
    'store/migration',
    `The store ${path} could not be brought to the current schema: ${(error as Error).message}.`,
    'Use the version of Rapport that made it, or give another folder with --data.',
    { cause: error },
  );
}

async function openFile(path: string): Promise<SqliteDatabase> {
  try {
    const file = new Libsql(path);
    file.exec(`pragma busy_timeout = ${WAIT_FOR_LOCK_MS}`);
    await useWal(file);
    file.exec('pragma synchronous = full');
    file.exec('pragma secure_delete = on');
    return file as unknown as SqliteDatabase;
  } catch (cause) {
    throw new RapportError(
      'store/unreadable',
      `The store ${path} cannot be opened: ${(cause as Error).message}.`,
      'Check the rights of the folder and the space on the disk, or restore a backup.',
      { cause },
    );
  }
}

/** Of two processes that open a new file at once one is refused the change to WAL without waiting. */
async function useWal(file: Libsql.Database): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += LOOK_AGAIN_MS) {
    try {
      file.exec('pragma journal_mode = wal');
      return;
    } catch (error) {
      const busy = (error as { code?: string }).code?.startsWith('SQLITE_BUSY');
      if (!busy || waitedMs >= WAIT_FOR_LOCK_MS) throw error;
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

class LibsqlDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(config: SqliteDialectConfig) {
    super(config);
    this.#config = config;
  }

  override createDriver(): Driver {
    return new ImmediateDriver(this.#config);
  }

  override createAdapter(): SqliteAdapter {
    return new WholeMigrations();
  }
}

/** What is pending is seen and migrated in one transaction: all of it or nothing, and by one process. */
class WholeMigrations extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class ImmediateDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'));
  }

  /** On a full disk SQLite has rolled back by itself; a second time would fail and hide why. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await super.rollbackTransaction(connection).catch((error: Error) => {
      if (!error.message.includes('no transaction is active')) throw error;
    });
  }
}
