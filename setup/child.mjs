// Runs a tool to its end and keeps its words for the case that it fails.
import { spawn } from 'node:child_process';

/**
 * @typedef {object} ToolResult
 * @property {number} code exit code; 1 when a signal ended it
 * @property {string} output standard output and error, in order of arrival
 */

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd: string, env?: NodeJS.ProcessEnv, signal?: AbortSignal, echo?: boolean}} options
 * @returns {Promise<ToolResult>}
 */
export function runTool(command, args, { cwd, env, signal, echo = false }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // npm outlives a polite signal.
      ...(signal ? { signal, killSignal: 'SIGKILL' } : {}),
    });
    let output = '';
    /** @param {Buffer} bytes */
    const keep = (bytes) => {
      output += bytes;
      if (echo) process.stderr.write(bytes);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/**
 * The last lines of a tool's output.
 *
 * @param {string} output
 * @param {number} lines
 */
export const tail = (output, lines) => output.trimEnd().split('\n').slice(-lines).join('\n');
