// The engines of Node, in a process of their own: a crash of one is a row, not the end.
import { fileURLToPath } from 'node:url';
import { Child } from './child.ts';
import { missingRow, type Row } from './rows.ts';

export async function runNative(quick: boolean, threads: number): Promise<Row[]> {
  const script = fileURLToPath(new URL('./native-child.ts', import.meta.url));
  const child = new Child(script, [`${threads}`, quick ? 'quick' : 'full']);
  try {
    return await child.ask<Row[]>('');
  } catch (error) {
    return [missingRow({ suite: 'inference', workload: 'all', engine: 'engines of Node' }, error)];
  } finally {
    child.stop();
  }
}
