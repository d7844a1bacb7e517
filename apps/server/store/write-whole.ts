// Files that are whole or not there.
import { open, rename, rm } from 'node:fs/promises';

let written = 0;

/** Puts `content` under a name in one durable step; when that fails, nothing is left behind. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}-${written++}.part`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    // On a full disk, half a file would keep it full.
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}
