// The page begins here: it makes the parts, mounts the frame, and wakes the service worker.
import { mount } from 'svelte';
import App from './App.svelte';
import { Chat } from './chat/chat.svelte.ts';
import { Conversations } from './chat/conversations.svelte.ts';
import { openDatabase } from './db/database.ts';
import { Model } from './model/model.svelte.ts';
import { ServerFeed } from './model/release-feed.ts';
import { Releases, type ReleaseFacts } from './model/releases.svelte.ts';
import { shortId } from './model/short-id.ts';
import { Feedback } from './sync/feedback.svelte.ts';
import { Language } from './ui/language.svelte.ts';
import { Theme } from './ui/theme.svelte.ts';
import { Toasts } from './ui/toasts.svelte.ts';
import { startInference } from './workers/start-inference.ts';
import { allowOwnScripts } from './workers/trusted-scripts.ts';
import './ui/tokens.css';
import './ui/base.css';

allowOwnScripts();
const db = openDatabase();
const model = new Model(db, startInference());
const language = new Language();
const toasts = new Toasts();
const app = {
  db,
  model,
  language,
  theme: new Theme(),
  toasts,
  releases: new Releases(db, model, new ServerFeed(), announce),
  conversations: new Conversations(db),
  chat: new Chat(db, model),
  feedback: new Feedback(db),
};

mount(App, { target: document.getElementById('app')!, props: { app } });
void app.model.start().then(() => app.releases.start());
app.feedback.start();
void openNamedConversation();
addEventListener('hashchange', () => void openNamedConversation());
if (import.meta.env.PROD) void navigator.serviceWorker?.register('/service-worker.js');

/** The address may name a conversation: `#/c/<id>`. */
async function openNamedConversation(): Promise<void> {
  const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1];
  if (!id || !(await app.chat.open(id))) await app.chat.startNew();
}

/** Says that another release answers now, and what it learned from. */
function announce(what: 'new' | 'halted', release: ReleaseFacts | null): void {
  const { t } = language;
  if (what === 'halted' || !release) return toasts.show({ text: t.releaseHalted });
  const id = shortId(release.id);
  toasts.show({ text: `${t.newRelease(id)} ${t.learnedFrom(id, release.votes, release.mine)}` });
}
