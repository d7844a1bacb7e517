// Files of JSON that commands read: lines of rows, and settings.
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { RapportError } from '@rapport/core';
import { inFileWords } from '../file-errors.ts';

/** The objects of a file of JSON lines, plain or gzipped. Throws `file/refused`, `evaluate/*`. */
export async function linesOf<T>(file: string): Promise<T[]> {
  const bytes = await bytesOf(file);
  const text = (file.endsWith('.gz') ? unpacked(bytes, file) : bytes).toString('utf8');
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line, i) => {
    try {
      return objectOf(line) as T;
    } catch (cause) {
      throw new RapportError(
        'evaluate/bad-line',
        `Line ${i + 1} of ${file} is not a JSON object (${(cause as Error).message}).`,
        'Give one JSON object a line.',
        { cause },
      );
    }
  });
}

/** Hyper-parameters of a file. Throws `file/refused`, `train/bad-config`. */
export async function readConfig(file: string): Promise<Record<string, unknown>> {
  const text = (await bytesOf(file)).toString('utf8');
  try {
    return objectOf(text);
  } catch (cause) {
    throw new RapportError(
      'train/bad-config',
      `${file} is not a JSON object (${(cause as Error).message}).`,
      'Give a file like {"seed": 1, "ppo": {"klCoef": 0.02}}.',
      { cause },
    );
  }
}

function objectOf(text: string): Record<string, unknown> {
  const value = JSON.parse(text) as unknown;
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Error('it is another value');
}

const bytesOf = (file: string): Promise<Buffer> =>
  readFile(file).catch((error: unknown) => {
    throw inFileWords(error, file);
  });

function unpacked(bytes: Buffer, file: string): Buffer {
  try {
    return gunzipSync(bytes);
  } catch (cause) {
    throw new RapportError(
      'evaluate/bad-gzip',
      `${file} cannot be unpacked (${(cause as Error).message}).`,
      'Fetch it again, or give the rows unpacked as a .jsonl file.',
      { cause },
    );
  }
}
