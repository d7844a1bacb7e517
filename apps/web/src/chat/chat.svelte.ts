// The conversation on screen and what a person can do in it. Rows come from Dexie; only the text that
// is being streamed lives here, between two writes.
import { liveQuery, type Subscription } from 'dexie';
import { SvelteMap } from 'svelte/reactivity';
import type { Conversation, ConversationSettings, Database, Message } from '../db/database.ts';
import { recall, remember } from '../db/database.ts';
import { errorNote } from '../db/error-note.ts';
import type { Model } from '../model/model.svelte.ts';
import {
  addPrompt,
  addReplies,
  blankConversation,
  DEFAULT_SETTINGS,
  markInterrupted,
  streamingReplies,
  turnsOf,
} from './conversation.ts';
import { speakByTwo } from './blind.ts';
import { speak } from './speak.ts';
import { newestLeaf, pathTo, siblingsOf } from './tree.ts';

/** One tab of this origin speaks at a time. */
export const SPEAKING_LOCK = 'rapport-speaking';
const DEFAULTS_KEY = 'conversation-defaults';

/** A reply, or alternates, on the way. */
interface Speaking {
  conversationId: string;
  controller: AbortController;
  /** Fulfilled when the rows say how it ended. */
  ended: Promise<void>;
}

export class Chat {
  conversation = $state.raw<Conversation>(blankConversation(DEFAULT_SETTINGS));
  /** True once the rows of the conversation have been read. */
  loaded = $state(true);
  #messages = $state.raw<ReadonlyMap<string, Message>>(new Map());
  readonly #drafts = new SvelteMap<string, string>();
  #speaking = $state.raw<Speaking | null>(null);
  /** The group of alternates that is open for ranking. */
  ranking = $state<string | null>(null);
  readonly path = $derived.by(() => pathTo(this.#messages, this.conversation.head));
  readonly #db: Database;
  readonly #model: Model;
  #subscription: Subscription | undefined;

  constructor(db: Database, model: Model) {
    this.#db = db;
    this.#model = model;
    void this.#recover();
  }

  /** True while a reply is on its way. */
  get busy(): boolean {
    return this.#speaking !== null;
  }

  /** The text of a message, with what has been streamed since the last write. */
  textOf(message: Message): string {
    return this.#drafts.get(message.id) ?? message.text;
  }

  siblings(message: Message): Message[] {
    return siblingsOf(this.#messages, message);
  }

  /** The alternates of a group, oldest first. */
  alternates(group: string): Message[] {
    return [...this.#messages.values()]
      .filter((message) => message.group === group)
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** The turns that led to a message, without it. */
  promptOf(message: Message) {
    const path = pathTo(this.#messages, message.parentId);
    return turnsOf(this.conversation.settings, path);
  }

  async startNew(): Promise<void> {
    this.#close();
    const defaults = await recall<ConversationSettings>(this.#db, DEFAULTS_KEY);
    this.conversation = blankConversation(defaults ?? DEFAULT_SETTINGS);
    this.loaded = true;
  }

  /** Shows a stored conversation; false when there is none with this id. */
  async open(id: string): Promise<boolean> {
    if (id === this.conversation.id && this.#subscription) return true;
    const conversation = await this.#db.conversations.get(id);
    if (!conversation) return false;
    this.#close();
    this.loaded = false;
    this.conversation = conversation;
    this.#follow(id);
    return true;
  }

  async send(text: string): Promise<void> {
    const content = text.trim();
    if (!content || this.busy) return;
    await this.#prompt(this.conversation.head, content);
  }

  /** Says a sent message differently: a branch beside the old one. False when that cannot be now. */
  async edit(message: Message, text: string): Promise<boolean> {
    const content = text.trim();
    if (!content || this.busy) return false;
    if (content !== message.text) await this.#prompt(message.parentId, content);
    return true;
  }

  /** One more reply to the same prompt; the earlier ones stay as siblings. */
  async regenerate(reply: Message): Promise<void> {
    const prompt = this.#messages.get(reply.parentId ?? '');
    if (prompt && !this.busy) await this.#reply(prompt, 1);
  }

  /** `count` alternates of one prompt in one batch, opened for ranking. */
  async moreReplies(reply: Message, count: number): Promise<void> {
    const prompt = this.#messages.get(reply.parentId ?? '');
    if (prompt && !this.busy) await this.#reply(prompt, count);
  }

  /** Goes on with a reply that was cut off. */
  async continueReply(reply: Message): Promise<void> {
    if (this.busy) return;
    await this.#db.messages.update(reply.id, { state: 'streaming' });
    await this.#speak(reply.parentId!, [{ ...reply, state: 'streaming' }]);
  }

  stop(): void {
    this.#speaking?.controller.abort();
  }

  /** Stops what is being said in a conversation, on screen or not, and waits until its rows say so. */
  async stopIn(conversationId: string): Promise<void> {
    const speaking = this.#speaking;
    if (speaking?.conversationId !== conversationId) return;
    speaking.controller.abort();
    await speaking.ended;
  }

  /** Puts the branch through a sibling on screen. */
  async show(message: Message): Promise<void> {
    const head = newestLeaf(this.#messages, message.id);
    await this.#change({ head });
  }

  async changeSettings(settings: ConversationSettings, forNewChats: boolean): Promise<void> {
    await this.#change({ settings });
    if (forNewChats) await remember(this.#db, DEFAULTS_KEY, settings);
  }

  /** Records the person's consent; the outbox moves its rows itself. */
  async setShare(share: boolean): Promise<void> {
    await this.#change({ share });
  }

  async #change(changes: Partial<Conversation>): Promise<void> {
    this.conversation = { ...this.conversation, ...changes };
    await this.#db.conversations.update(this.conversation.id, changes);
  }

  async #prompt(parentId: string | null, text: string): Promise<void> {
    const prompt = await addPrompt(this.#db, this.conversation, parentId, text);
    if (!this.#subscription) this.#follow(this.conversation.id);
    await this.#reply(prompt, 1);
  }

  async #reply(prompt: Message, count: number): Promise<void> {
    const replies = await addReplies(this.#db, prompt, count);
    this.ranking = replies[0]!.group;
    await this.#speak(prompt.id, replies);
  }

  async #speak(promptId: string, replies: Message[]): Promise<void> {
    const controller = new AbortController();
    const ended = this.#say(promptId, replies, controller.signal);
    this.#speaking = { conversationId: replies[0]!.conversationId, controller, ended };
    try {
      await ended;
    } finally {
      this.#speaking = null;
    }
  }

  async #say(promptId: string, replies: Message[], signal: AbortSignal): Promise<void> {
    const { settings } = this.conversation;
    const { conversationId } = replies[0]!;
    try {
      await navigator.locks.request(SPEAKING_LOCK, { signal }, () =>
        this.#model.speakWith(signal, async (release, onToken) => {
          const rows = await this.#db.messages.where({ conversationId }).toArray();
          const path = pathTo(new Map(rows.map((row) => [row.id, row])), promptId);
          const voices = replies.map((message, i) => ({
            message,
            sampling: { ...settings.sampling, seed: seedFor(settings, i), stop: settings.stop },
          }));
          const onText = (messageId: string, text: string) => {
            this.#drafts.set(messageId, text);
            onToken();
          };
          const turns = turnsOf(settings, path);
          return speakByTwo(voices, this.#model, release, (speaker, some) => {
            const speech = { turns, voices: some, release: speaker, onText };
            return speak(this.#db, this.#model.inference, speech, signal);
          });
        }),
      );
    } catch (error) {
      await this.#giveUp(replies, error, signal.aborted);
    }
  }

  /** The model could not even begin: the rows say why. */
  async #giveUp(replies: Message[], error: unknown, stopped: boolean): Promise<void> {
    const changes: Partial<Message> = stopped
      ? { state: 'stopped' }
      : { state: 'failed', error: errorNote(error) };
    await this.#db.messages.bulkUpdate(replies.map(({ id }) => ({ key: id, changes })));
  }

  /** What was on its way before, and still is once nobody speaks, was left behind by a page that went away. */
  async #recover(): Promise<void> {
    const ids = await streamingReplies(this.#db);
    if (ids.length === 0) return;
    await navigator.locks.request(SPEAKING_LOCK, () => markInterrupted(this.#db, ids));
  }

  #follow(id: string): void {
    this.#subscription = liveQuery(() =>
      Promise.all([
        this.#db.conversations.get(id),
        this.#db.messages.where({ conversationId: id }).toArray(),
      ]),
    ).subscribe(([conversation, messages]) => {
      if (conversation) this.conversation = conversation;
      this.#messages = new Map(messages.map((message) => [message.id, message]));
      this.loaded = true;
      // Only now: what was streamed stays on screen until its row says the same.
      for (const { id, state } of messages) if (state !== 'streaming') this.#drafts.delete(id);
    });
  }

  #close(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    this.#messages = new Map();
    this.ranking = null;
  }
}

function seedFor(settings: ConversationSettings, index: number): number {
  if (settings.seed !== null) return settings.seed + index;
  return crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1;
}
