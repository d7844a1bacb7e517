// Ports between tabs: an engine has one inbox, and so has each tab, all of them broadcast channels of this origin.
// It knows nothing of who computes.
import type { Port } from './channel.ts';

interface Letter {
  from: string;
  message: unknown;
}

/** Opens the broadcast channel of that name. */
export type OpenChannel = (name: string) => Channel;

/** What is used of a `BroadcastChannel`. */
export interface Channel extends Port {
  close(): void;
}

const engineInbox = (engine: string) => `rapport-engine-${engine}`;
const tabInbox = (tab: string, engine: string) => `rapport-tab-${tab}-${engine}`;

/** Held by a tab for as long as it lives, from before it writes to an engine. */
export const tabLock = (tab: string): string => `rapport-tab-${tab}`;

/** The port of a tab to an engine that has begun to listen. */
export function portToEngine(open: OpenChannel, tab: string, engine: string): Channel {
  const there = open(engineInbox(engine));
  const here = open(tabInbox(tab, engine));
  return {
    postMessage: (message) => there.postMessage({ from: tab, message } satisfies Letter),
    addEventListener: (type, listener) => here.addEventListener(type, listener),
    close() {
      there.close();
      here.close();
    },
  };
}

/** Listens for tabs that write to an engine; `met` gets the port of each when its first message comes. */
export function listenForTabs(
  open: OpenChannel,
  engine: string,
  met: (tab: string, port: Port) => void,
): void {
  const listeners = new Map<string, (event: MessageEvent) => void>();
  open(engineInbox(engine)).addEventListener('message', ({ data }: MessageEvent<Letter>) => {
    if (!listeners.has(data.from)) {
      const there = open(tabInbox(data.from, engine));
      met(data.from, {
        postMessage: (message) => there.postMessage(message),
        addEventListener: (_, listener) => listeners.set(data.from, listener),
      });
    }
    listeners.get(data.from)?.({ data: data.message } as MessageEvent);
  });
}
