// Whether an earlier start died in the middle of opening the model. A page that is closed or reloaded says that
// it leaves, and other tabs open theirs at the same time: neither is a crash.
import { recall, remember, type Database } from '../db/database.ts';

/** 'open' while a model is being opened: found at a start, the last one ended there. */
const STATE_KEY = 'opening';
/** Set by a page that leaves, which has no time for a database. */
const LEFT_KEY = 'rapport-left';
const LOCK = 'rapport-opening';

type State = 'open' | 'crashed' | 'never';

export interface Opening {
  /** A start died while opening; it counts until `forgetCrash`. */
  readonly afterCrash: boolean;
  /** The model is open, or why it is not is known: `crashed` when the worker that opened it died. */
  end(crashed?: boolean): Promise<void>;
}

/** Notes that a model is being opened. */
export async function beginOpening(db: Database): Promise<Opening> {
  const letGo = await lockIfFree();
  const last = await recall<State>(db, STATE_KEY);
  // Another tab is opening: it keeps the note.
  if (!letGo) return { afterCrash: last === 'crashed', end: async () => undefined };
  const left = localStorage.getItem(LEFT_KEY) !== null;
  localStorage.removeItem(LEFT_KEY);
  const afterCrash = last === 'crashed' || (last === 'open' && !left);
  await remember(db, STATE_KEY, 'open');
  const leave = () => {
    localStorage.setItem(LEFT_KEY, 'yes');
    void letGo();
  };
  addEventListener('pagehide', leave, { once: true });
  return {
    afterCrash,
    async end(crashed = false) {
      removeEventListener('pagehide', leave);
      await remember(db, STATE_KEY, afterCrash || crashed ? 'crashed' : 'never');
      await letGo();
    },
  };
}

/** The next start is one like any other. */
export const forgetCrash = (db: Database): Promise<void> => remember(db, STATE_KEY, 'never');

/** The lock of the tab that opens its model, and how it is let go; null when another tab has it. */
function lockIfFree(): Promise<(() => Promise<unknown>) | null> {
  return new Promise((answer) => {
    const done: Promise<unknown> = navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => {
      if (!lock) return answer(null);
      return new Promise<void>((letGo) =>
        answer(() => {
          letGo();
          return done;
        }),
      );
    });
  });
}
