// Questions from the page of a test to a worker of its own.

/** What the worker makes of `question`; the worker ends then. Throws what it threw. */
export function ask<Answer>(worker: Worker, question: unknown): Promise<Answer> {
  const answer = new Promise<Answer>((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }: MessageEvent<{ answer: Answer } | { error: string }>) =>
      'error' in data ? reject(new Error(data.error)) : resolve(data.answer);
  });
  worker.postMessage(question);
  return answer.finally(() => worker.terminate());
}

/** In the worker: how it answers. */
export function answerWith<Question>(make: (question: Question) => Promise<unknown>): void {
  // Vitest rewrites dynamic imports for its page; a worker has to provide what they call.
  Object.assign(globalThis, {
    __vitest_browser_runner__: { wrapDynamicImport: (load: () => unknown) => load() },
  });
  self.onmessage = ({ data }: MessageEvent<Question>) =>
    void make(data).then(
      (answer) => postMessage({ answer }),
      (error: Error) => postMessage({ error: `${error.name}: ${error.message}` }),
    );
}
