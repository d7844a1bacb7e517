// Which release this device answers with: follows the signed channel, verifies, swaps between replies.
import type { Database } from '../db/database.ts';
import type { Model } from './model.svelte.ts';

export class Releases {
  /** The channel has expired: the current model is kept and the page says so. */
  stale = $state(false);
  /** Why a release was refused, if one was. */
  problem = $state<string | null>(null);
  learned = $state.raw<{ votes: number; mine: number } | null>(null);

  constructor(_db: Database, _model: Model) {}
}
