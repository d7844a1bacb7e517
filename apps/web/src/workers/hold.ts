// A lock among the tabs of this origin, as a promise: what holds it is let go by hand.

/** Waits for `name` and gives the function that lets it go. Rejects when `signal` aborts first. */
export function hold(name: string, signal: AbortSignal): Promise<() => void> {
  return new Promise((held, refused) => {
    const keep = () => new Promise<void>((letGo) => held(letGo));
    navigator.locks.request(name, { signal }, keep).catch(refused);
  });
}
