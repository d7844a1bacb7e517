// Short messages with at most one button: the undo, or the remedy. One is shown at a time.

export interface Toast {
  text: string;
  action?: { label: string; run: () => void };
  /** Shown until it is dismissed or another takes its place. */
  stays?: boolean;
}

const SHOWN_MS = 7000;

export class Toasts {
  current = $state.raw<Toast | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  show(toast: Toast): void {
    this.current = toast;
    this.hold();
    this.release();
  }

  /** Keeps the toast while it is being read or reached for. */
  hold(): void {
    clearTimeout(this.#timer);
  }

  release(): void {
    if (!this.current?.stays) this.#timer = setTimeout(() => this.dismiss(), SHOWN_MS);
  }

  dismiss(): void {
    this.hold();
    this.current = null;
  }
}
