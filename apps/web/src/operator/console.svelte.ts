// The console's state: who is signed in, which page is open, and the last answer for it.
import type { LanguageCode } from '../ui/language.svelte.ts';
import { consoleEn, consoleZh, type ConsoleWords } from './words.ts';
import { answerOf, api } from './api.ts';

export const PAGES = ['overview', 'votes', 'datasets', 'runs', 'releases', 'devices'] as const;
export type Page = (typeof PAGES)[number];

const WORDS: Record<LanguageCode, ConsoleWords> = { en: consoleEn, zh: consoleZh };

export class Console {
  readonly words: ConsoleWords;
  session = $state<'unknown' | 'out' | 'setup' | 'in'>('unknown');
  page = $state<Page>('overview');
  run = $state<string | null>(null);
  note = $state<{ text: string; bad: boolean } | null>(null);

  constructor(language: LanguageCode) {
    this.words = WORDS[language];
  }

  async begin(): Promise<void> {
    this.follow();
    addEventListener('hashchange', () => this.follow());
    try {
      const { signedIn, needsSetup } = await answerOf(api.session.$get());
      this.session = signedIn ? 'in' : needsSetup ? 'setup' : 'out';
    } catch (error) {
      this.session = 'out';
      this.say((error as Error).message, true);
    }
  }

  /** Runs an act of the operator and says how it went. */
  async act(act: () => Promise<unknown>, done = this.words.done): Promise<boolean> {
    try {
      await act();
      this.say(done, false);
      return true;
    } catch (error) {
      const { message, remedy = '' } = error as { message: string; remedy?: string };
      this.say(`${message} ${remedy}`, true);
      return false;
    }
  }

  say(text: string, bad: boolean): void {
    this.note = { text, bad };
  }

  follow(): void {
    const [page, run] = location.hash.slice(2).split('/');
    this.page = PAGES.find((name) => name === page) ?? 'overview';
    this.run = page === 'runs' && run ? decodeURIComponent(run) : null;
  }
}
