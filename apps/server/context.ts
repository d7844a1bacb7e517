// Everything a request or a command works on, opened once: store, blobs, keys, training.
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inFileWords } from './file-errors.ts';
import { ensureKeys } from './releases/keys.ts';
import { Blobs } from './store/blobs.ts';
import { openDatabase, type Database } from './store/database.ts';
import { LocalTrainer } from './trainer/local.ts';
import { Runs } from './trainer/runs.ts';

export interface Context {
  readonly dataFolder: string;
  readonly db: Database;
  readonly blobs: Blobs;
  readonly runs: Runs;
  close(): Promise<void>;
}

/** Whether `folder` is a data folder: a store lies in it. */
export const isDataFolder = (folder: string): boolean => existsSync(join(folder, 'rapport.db'));

/**
 * Opens a data folder: migrates the store and makes the keys at first. Throws `file/refused`, `store/*`,
 * `keys/*`.
 */
export async function openContext(folder: string, trainer = new LocalTrainer()): Promise<Context> {
  const dataFolder = resolve(folder);
  await mkdir(dataFolder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw inFileWords(error, dataFolder);
  });
  const db = await openDatabase(dataFolder);
  await ensureKeys(db, dataFolder);
  const blobs = new Blobs(db, dataFolder);
  const runs = new Runs({ db, blobs, dataFolder, runsFolder: join(dataFolder, 'runs'), trainer });
  return {
    dataFolder,
    db,
    blobs,
    runs,
    async close() {
      await runs.stop();
      await db.destroy();
    },
  };
}
