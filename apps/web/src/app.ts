// The page's parts, made once and handed down by context.
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
