// The newest answer to one question, asked again every few seconds while it is on screen. Made while a
// component begins; a session that ended leads back to the door.

import { RapportError } from '@rapport/core';
import { useConsole } from './context.ts';

const AGAIN_MS = 5000;

export class Answer<T> {
  value = $state.raw<T | null>(null);
  error = $state<string | null>(null);
  readonly #ask: () => Promise<T>;
  readonly #operator = useConsole();

  constructor(ask: () => Promise<T>, againMs = AGAIN_MS) {
    this.#ask = ask;
    $effect(() => {
      void this.refresh();
      const timer = setInterval(() => void this.refresh(), againMs);
      return () => clearInterval(timer);
    });
  }

  async refresh(): Promise<void> {
    try {
      this.value = await this.#ask();
      this.error = null;
    } catch (error) {
      this.error = (error as Error).message;
      if (isSignedOut(error)) this.#operator.session = 'out';
    }
  }
}

const isSignedOut = (error: unknown) =>
  error instanceof RapportError && error.code === 'operator/signed-out';
