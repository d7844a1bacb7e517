// The list of conversations: newest first, searchable by title and by what was said.
import type { Conversation, Database } from '../db/database.ts';
import { Live } from '../db/live.svelte.ts';
import { removeConversation, restoreConversation, type Removed } from './conversation.ts';

export class Conversations {
  query = $state('');
  readonly #db: Database;
  readonly #all: Live<Conversation[]>;
  #found = $state.raw<ReadonlySet<string> | null>(null);
  readonly shown = $derived.by(() => {
    const found = this.#found;
    return found ? this.#all.value.filter(({ id }) => found.has(id)) : this.#all.value;
  });

  constructor(db: Database) {
    this.#db = db;
    this.#all = new Live(() => db.conversations.orderBy('updatedAt').reverse().toArray(), []);
  }

  /** Narrows the list to conversations whose title or messages contain `query`. */
  async search(query: string): Promise<void> {
    this.query = query;
    const words = query.trim().toLowerCase();
    if (!words) {
      this.#found = null;
      return;
    }
    const has = (text: string) => text.toLowerCase().includes(words);
    const spoken = await this.#db.messages.filter(({ text }) => has(text)).toArray();
    const titled = this.#all.value.filter(({ title }) => has(title));
    if (this.query !== query) return;
    this.#found = new Set([
      ...titled.map(({ id }) => id),
      ...spoken.map(({ conversationId }) => conversationId),
    ]);
  }

  async rename(id: string, title: string): Promise<void> {
    const name = title.trim();
    if (name) await this.#db.conversations.update(id, { title: name, named: 1 });
  }

  async remove(id: string): Promise<Removed | undefined> {
    return removeConversation(this.#db, id);
  }

  async restore(removed: Removed): Promise<void> {
    await restoreConversation(this.#db, removed);
  }
}
