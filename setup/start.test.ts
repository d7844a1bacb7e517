import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../start.mjs', import.meta.url));

/** Runs start.mjs to its end. Only for flags that end it before it serves. */
function start(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((ended) => {
    const child = spawn(process.execPath, [script, ...args]);
    let out = '';
    let err = '';
    child.stdout.on('data', (text: Buffer) => (out += String(text)));
    child.stderr.on('data', (text: Buffer) => (err += String(text)));
    child.on('close', (code) => ended({ code, out, err }));
  });
}

test('--help names every flag and exits with 0', async () => {
  const { code, out } = await start('--help');
  expect(code).toBe(0);
  for (const flag of ['--port', '--host', '--data', '--model', '--help'])
    expect(out).toContain(flag);
});

test('a flag that does not exist exits with 2, and the second line says what to do', async () => {
  const { code, err } = await start('--prot', '1');
  expect(code).toBe(2);
  expect(err.split('\n')[0]).toContain('--prot');
  expect(err.split('\n')[1]).toContain('--help');
});

test('a port in use is said at once, with the remedy', async () => {
  const other = createServer();
  await new Promise<void>((listening) => other.listen(0, 'localhost', listening));
  const { port } = other.address() as AddressInfo;
  const { code, err } = await start('--port', String(port));
  other.close();
  expect(code).toBe(1);
  expect(err).toContain(`Port ${port} is already in use.`);
  expect(err).toContain('--port N');
});

test('an address that is not this machine is refused', async () => {
  const { code, err } = await start('--port', '0', '--host', '192.0.2.1');
  expect(code).toBe(1);
  expect(err).toContain('EADDRNOTAVAIL');
});
