// The page's parts, made once and handed down by context, and the order in which they begin to speak.
import { createContext } from 'svelte';
import type { Chat } from './chat/chat.svelte.ts';
import type { Conversations } from './chat/conversations.svelte.ts';
import type { Database } from './db/database.ts';
import type { Model } from './model/model.svelte.ts';
import type { Releases } from './model/releases.svelte.ts';
import type { Feedback } from './sync/feedback.svelte.ts';
import type { Personal } from './training/personal.svelte.ts';
import type { Training } from './training/training.svelte.ts';
import type { Language } from './ui/language.svelte.ts';
import type { Theme } from './ui/theme.svelte.ts';
import type { Toasts } from './ui/toasts.svelte.ts';

export interface App {
  db: Database;
  language: Language;
  theme: Theme;
  toasts: Toasts;
  model: Model;
  releases: Releases;
  conversations: Conversations;
  chat: Chat;
  feedback: Feedback;
  personal: Personal;
  training: Training;
}

export const [useApp, provideApp] = createContext<App>();

/** Opens the model; before any reply the release of last time speaks again, and what this person taught it. */
export async function startSpeaking({
  model,
  releases,
  personal,
}: Pick<App, 'model' | 'releases' | 'personal'>): Promise<void> {
  model.restore = async () => {
    await releases.restore();
    await personal.start();
  };
  await model.start();
  releases.follow();
}
