// Waits until the engine asked last is done with all it does after its answer (freeing memory, threads that spin), so
// that the next one has the cores to itself. transformers.js takes half a second of them after each question.
import { setTimeout as pause } from 'node:timers/promises';

const LOOK_MS = 100;
/** The clocks of processes tick every 10 ms. */
const BUSY_MS = 20;

/** `cpuMs`: time on any core so far. Gives up, so that one that never rests is measured beside what it does. */
export async function rest(cpuMs: () => Promise<number> | number, mostMs = 10_000): Promise<void> {
  let before = await cpuMs();
  for (let waited = 0; waited < mostMs; waited += LOOK_MS) {
    await pause(LOOK_MS);
    const now = await cpuMs();
    if (now - before < BUSY_MS) return;
    before = now;
  }
}
