// The language of the interface: the person's choice, else the browser's. One catalogue per language.
import { en, type Catalogue } from './en.ts';
import { zh } from './zh.ts';

const CATALOGUES = { en, zh } satisfies Record<string, Catalogue>;
const TAGS = { en: 'en', zh: 'zh-Hans' } as const;
const KEY = 'rapport-language';

export type LanguageCode = keyof typeof CATALOGUES;

export class Language {
  code = $state<LanguageCode>(firstChoice());
  /** The words of the interface. */
  readonly t: Catalogue = $derived(CATALOGUES[this.code]);

  constructor() {
    document.documentElement.lang = TAGS[this.code];
  }

  choose(code: LanguageCode): void {
    this.code = code;
    localStorage.setItem(KEY, code);
    document.documentElement.lang = TAGS[code];
  }

  get tag(): string {
    return TAGS[this.code];
  }
}

function firstChoice(): LanguageCode {
  const stored = localStorage.getItem(KEY);
  if (stored === 'en' || stored === 'zh') return stored;
  const wanted = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag));
  return wanted?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}
