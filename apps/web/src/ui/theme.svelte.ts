// Light, dark, or whatever the system says. The choice is an attribute on <html>; CSS does the rest.

export type ThemeChoice = 'system' | 'light' | 'dark';

const KEY = 'rapport-theme';

export class Theme {
  choice = $state<ThemeChoice>(read());

  constructor() {
    this.#apply();
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    localStorage.setItem(KEY, choice);
    this.#apply();
  }

  #apply(): void {
    const root = document.documentElement;
    if (this.choice === 'system') delete root.dataset.theme;
    else root.dataset.theme = this.choice;
  }
}

function read(): ThemeChoice {
  const stored = localStorage.getItem(KEY);
  return stored === 'light' || stored === 'dark' ? stored : 'system';
}
