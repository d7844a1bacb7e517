// Files of JSON lines that commands read.
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { RapportError } from '@rapport/core';

/** JSON lines of a file, plain or gzipped. Throws `evaluate/bad-line`. */
export async function linesOf<T>(file: string): Promise<T[]> {
  const bytes = await readFile(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line, i) => {
    try {
      return JSON.parse(line) as T;
    } catch (cause) {
      throw new RapportError(
        'evaluate/bad-line',
        `Line ${i + 1} of ${file} is not JSON.`,
        'Give one JSON object a line.',
        { cause },
      );
    }
  });
}
