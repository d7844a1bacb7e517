// Where tabs reach an engine: its own page by the port of the worker, all others by mail, each until it is gone.
import { serve, type Method, type Port } from './channel.ts';
import type { Desk, Spoken } from './desk.ts';
import type { InferenceService } from './inference.ts';
import { listenForTabs, tabLock, type OpenChannel } from './mail.ts';

/** What tabs ask for that needs no open model. */
export type Files = Omit<InferenceService, keyof Spoken>;

interface Doors {
  /** Under this name tabs write to the engine. */
  name: string;
  own: Port;
  open: OpenChannel;
  /** Resolves when that tab is gone. */
  gone: (tab: string) => Promise<unknown>;
}

/** Serves every tab that comes; what a tab has left running when it goes is aborted. */
export function receiveTabs(desk: Desk, files: Files, { name, own, open, gone }: Doors): void {
  const receive = (port: Port, isOwn: boolean) => {
    const { service, leave } = desk.seat({ own: isOwn });
    const all: InferenceService = { ...files, ...service };
    const abort = serve(port, all as unknown as Record<string, Method>);
    return () => {
      abort();
      leave();
    };
  };
  receive(own, true);
  listenForTabs(open, name, (tab, port) => {
    const leave = receive(port, false);
    void gone(tab).then(leave);
  });
}

/** Those of the worker that this runs in; a tab is gone when its lock is free. */
export const ownDoors = (): Doors => ({
  name: self.name,
  own: self as never,
  open: (name) => new BroadcastChannel(name),
  gone: (tab) => navigator.locks.request(tabLock(tab), () => undefined),
});
