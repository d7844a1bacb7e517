// `rapport …` in this process: quicker than a process for each command, with the same words and exit codes.
import { vi } from 'vitest';
import { codeOf } from './program.ts';

/** Runs a command on the data folder `data`. `json` is what it printed with --json. */
export async function rapport(data: string, ...args: string[]) {
  const [out, said] = [spyOn(process.stdout), spyOn(process.stderr)];
  try {
    const code = await codeOf([...args, '--data', data]);
    const [text, words] = [out.text(), said.text()];
    const json = args.includes('--json') && text !== '' ? (JSON.parse(text) as unknown) : undefined;
    return { code, text, said: words, json };
  } finally {
    out.restore();
    said.restore();
  }
}

function spyOn(stream: NodeJS.WriteStream) {
  const parts: string[] = [];
  const spy = vi.spyOn(stream, 'write').mockImplementation((part) => {
    parts.push(String(part));
    return true;
  });
  return { text: () => parts.join(''), restore: () => spy.mockRestore() };
}
