// A process that is asked line by line and answers each line with one line of JSON after a mark.
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

const MARK = 'answer: ';

export class Child {
  readonly #process: ChildProcess;
  readonly #waiting: { resolve(answer: unknown): void; reject(error: Error): void }[] = [];
  #said = '';
  #ended: Error | undefined;

  /** Runs a program; a TypeScript file is run by this Node through tsx. `env`: what the environment does not set already. */
  constructor(
    command: string,
    parameters: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    const [program, list] = command.endsWith('.ts')
      ? [process.execPath, ['--import', 'tsx', command, ...parameters]]
      : [command, [...parameters]];
    this.#process = spawn(program, list, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...env, ...process.env },
    });
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      // A library may print something of its own.
      if (line.startsWith(MARK)) {
        this.#waiting.shift()?.resolve(JSON.parse(line.slice(MARK.length)));
      }
    });
    this.#process.stderr!.on('data', (part) => (this.#said = (this.#said + part).slice(-2000)));
    this.#process.once('error', (error) => this.#end(error));
    this.#process.once('close', (code) =>
      this.#end(new Error(`it ended with ${code}: ${this.#said.trim().split('\n').at(-1)}`)),
    );
    this.#process.stdin!.on('error', () => undefined);
  }

  /** Writes a line and gives what is answered; an empty line writes nothing and waits. */
  ask<T>(line: string): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ resolve: (answer) => resolve(answer as T), reject });
      if (line) this.#process.stdin!.write(`${line}\n`);
    });
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
  }
}

/** For the child's side: one answer. */
export const tell = (answer: unknown): void => console.log(`${MARK}${JSON.stringify(answer)}`);

/** For the child's side: answers each line of standard input, one after the other. */
export async function answerLines(answer: (line: string) => Promise<unknown>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    tell(await answer(line));
  }
}
