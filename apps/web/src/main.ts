// The page begins here: it makes the parts, mounts the frame, and wakes the service worker.
import { mount } from 'svelte';
import App from './App.svelte';
import { startSpeaking } from './app.ts';
import { Chat } from './chat/chat.svelte.ts';
import { Conversations } from './chat/conversations.svelte.ts';
import { openDatabase } from './db/database.ts';
import { Model } from './model/model.svelte.ts';
import { ServerFeed } from './model/release-feed.ts';
import { Releases, type ReleaseFacts } from './model/releases.svelte.ts';
import { shortId } from './model/short-id.ts';
import { Feedback } from './sync/feedback.svelte.ts';
import { Personal } from './training/personal.svelte.ts';
import { Training } from './training/training.svelte.ts';
import CannotRun from './ui/CannotRun.svelte';
import { explain } from './ui/explain.ts';
import { Language } from './ui/language.svelte.ts';
import { missingFeatures } from './ui/missing-features.ts';
import { Theme } from './ui/theme.svelte.ts';
import { Toasts } from './ui/toasts.svelte.ts';
import { startInference } from './workers/start-inference.ts';
import { startTraining } from './workers/start-training.ts';
import { allowOwnScripts } from './workers/trusted-scripts.ts';
import './ui/tokens.css';
import './ui/base.css';

const target = document.getElementById('app')!;
const language = new Language();
const theme = new Theme();
const missing = missingFeatures();
if (missing.length > 0) mount(CannotRun, { target, props: { t: language.t, missing } });
else begin();

function begin(): void {
  allowOwnScripts();
  const db = openDatabase();
  const model: Model = new Model(
    db,
    startInference((where) => model.computesAt(where)),
  );
  const toasts = new Toasts();
  const announce = (what: 'new' | 'halted', release: ReleaseFacts | null) =>
    toasts.show({ text: announcement(what, release), stays: true });
  addEventListener('unhandledrejection', ({ reason }) =>
    toasts.show({ text: explain(reason, language.t) }),
  );
  const releases = new Releases(db, model, new ServerFeed(db), announce);
  const conversations = new Conversations(db);
  const chat = new Chat(db, model);
  const feedback = new Feedback(db);
  const personal = new Personal(db, model, (what, run) => {
    const bringOver = { label: language.t.bringOver, run: () => void training.bringOver(run) };
    const action = what === 'aside' && { action: bringOver };
    toasts.show({ text: language.t.personalNews[what], stays: true, ...action });
  });
  const training = new Training({ db, model, releases, personal, start: startTraining });
  const around = { db, model, language, theme, toasts, releases };
  const app = { ...around, conversations, chat, feedback, personal, training };

  mount(App, { target, props: { app } });
  void startSpeaking(app);
  feedback.start();
  void openNamed(chat);
  addEventListener('hashchange', () => void openNamed(chat));
  if (import.meta.env.PROD) void navigator.serviceWorker?.register('/service-worker.js');
}

/** The address may name a conversation: `#/c/<id>`. */
async function openNamed(chat: Chat): Promise<void> {
  const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1];
  if (!id || !(await chat.open(id))) await chat.startNew();
}

/** Another release answers now: which, and what it learned from. */
function announcement(what: 'new' | 'halted', release: ReleaseFacts | null): string {
  const { t } = language;
  if (what === 'halted' || !release) return t.releaseHalted;
  const id = shortId(release.id);
  return `${t.newRelease(id)} ${t.learnedFrom(id, release.votes, release.mine)}`;
}
