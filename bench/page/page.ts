// One worker per engine; `ask` sends it a question and gives its answer.
import type { Ask, Told } from './engine.worker.ts';

const workers = new Map<string, Worker>();

function workerOf(engine: string): Worker {
  const known = workers.get(engine);
  if (known) return known;
  const url = new URL('./engine.worker.ts', import.meta.url);
  const worker = new Worker(url, { type: 'module', name: engine });
  workers.set(engine, worker);
  return worker;
}

const ask = (question: Ask & { engine: string }): Promise<Told> =>
  new Promise((resolve, reject) => {
    const worker = workerOf(question.engine);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }: MessageEvent<Told>) =>
      data.error ? reject(new Error(data.error)) : resolve(data);
    worker.postMessage(question);
  });

/** KL(p‖q) in nats after each token of a text, for the log-probs of two engines. */
async function divergence(exact: string, other: string): Promise<number[]> {
  const [p, q] = [
    await ask({ engine: exact, kind: 'scores' }),
    await ask({ engine: other, kind: 'scores' }),
  ];
  return p.scores!.map((row, t) =>
    row.reduce((sum, x, id) => sum + Math.exp(x) * (x - q.scores![t]![id]!), 0),
  );
}

Object.assign(globalThis, { ask, divergence });
