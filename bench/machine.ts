// What measured: processor, system, versions. No names of machines or people.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { findChromium } from '../tests/support/chromium.mjs';
import { peerVersion } from './peers.ts';
import { pythonVersion } from './python.ts';

const PEERS = ['@wllama/wllama', '@huggingface/transformers', '@mlc-ai/web-llm', 'node-llama-cpp'];

/** One paragraph. */
export async function machine(threads: number): Promise<string> {
  const [{ model } = { model: 'unknown processor' }] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  const lines = [
    `${cpus().length} × ${model.trim()}, ${memory} GiB of memory, ${process.platform} ${process.arch}, ${threads} threads`,
    `Node ${process.versions.node}, ${await chromiumVersion()}`,
    `onnxruntime-web ${await installed('onnxruntime-web')}`,
    `onnxruntime-node ${await installed('onnxruntime-node')}`,
  ];
  for (const name of PEERS) lines.push(`${name} ${(await peerVersion(name)) ?? 'not installed'}`);
  lines.push(`PyTorch ${(await pythonVersion('torch')) ?? 'not installed'}`);
  return `${lines.join(', ')}.`;
}

async function installed(name: string): Promise<string> {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

async function chromiumVersion(): Promise<string> {
  const path = findChromium();
  const said = path && (await promisify(execFile)(path, ['--version']).catch(() => undefined));
  // "Chromium 156.0.8078.79 built on …"
  return said ? said.stdout.trim().split(' ').slice(0, 2).join(' ') : 'Chromium of Playwright';
}
