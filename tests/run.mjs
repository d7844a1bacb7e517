// `npm test`: everything that guards this repository, in order of cost, and one count at the end.
// `npm test -- types unit` runs the named steps only.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createMeter } from '../apps/server/model-source/meter.mjs';
import { obtainModel } from '../apps/server/model-source/obtain.mjs';
import { runTool, tail } from '../setup/child.mjs';
import { ensureInstalled } from '../setup/install.mjs';
import { ensureBrowser } from './support/browser.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (/** @type {string} */ path) => join(root, 'node_modules', path);

/** @type {NodeJS.ProcessEnv} */
const colours = process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1', FORCE_COLOR: '0' };

/** @typedef {{passed: number, failed: number, output: string}} Outcome */
/** @typedef {{name: string, what: string, run: () => Promise<Outcome>}} Step */

/** @type {Step[]} */
const steps = [
  {
    name: 'format',
    what: 'Prettier',
    run: () => check('prettier/bin/prettier.cjs', '--check', '.'),
  },
  {
    name: 'lint',
    what: 'ESLint',
    run: () => check('eslint/bin/eslint.js', '.', '--max-warnings=0'),
  },
  { name: 'types', what: 'tsc and svelte-check', run: checkTypes },
  { name: 'dead-code', what: 'Knip', run: () => check('knip/bin/knip.js', '--no-config-hints') },
  { name: 'unit', what: 'tests in Node', run: () => vitest('unit') },
  { name: 'browser', what: 'tests in Chromium', run: () => vitest('browser*') },
  { name: 'story', what: 'tests on a real server and browser', run: () => vitest('story') },
];

/** @param {string[]} names */
async function main(names) {
  const unknown = names.filter((name) => !steps.some((step) => step.name === name));
  if (unknown.length > 0) {
    console.error(`There is no step ${unknown.join(', ')}.`);
    console.error(`Steps: ${steps.map(({ name }) => name).join(', ')}`);
    process.exit(2);
  }
  const chosen = steps.filter(({ name }) => names.length === 0 || names.includes(name));
  await prepare(chosen.some(({ name }) => ['unit', 'browser', 'story'].includes(name)));
  let passed = 0;
  let failed = 0;
  for (const { name, what, run } of chosen) {
    console.log(`\n== ${name}: ${what}`);
    const startMs = Date.now();
    const outcome = await run().catch((error) => broken(String(error?.stack ?? error)));
    passed += outcome.passed;
    failed += outcome.failed;
    if (outcome.failed > 0) console.log(tail(outcome.output, 200));
    const seconds = ((Date.now() - startMs) / 1000).toFixed(1);
    console.log(`${name}: ${outcome.passed} passed, ${outcome.failed} failed, ${seconds} s`);
  }
  const good = failed === 0 && passed > 0;
  process.exitCode = good ? 0 : 1;
  console.log(`\n${passed} passed, ${failed} failed`);
}

/**
 * Packages, and for tests the browser and the model.
 *
 * @param {boolean} forTests
 */
async function prepare(forTests) {
  const note = (/** @type {string} */ text) => console.log(text);
  try {
    await ensureInstalled(root, { note });
    if (!forTests) return;
    process.env.RAPPORT_CHROMIUM = (await ensureBrowser(root, note)) ?? '';
    const report = createMeter();
    const spec = process.env.RAPPORT_MODEL;
    await obtainModel({ report, ...(spec ? { spec } : {}) });
    report.end();
  } catch (error) {
    const { message, remedy = '' } = /** @type {Error & {remedy?: string}} */ (error);
    console.error(`${message}\n${remedy}\n\n0 passed, 1 failed`);
    process.exit(1);
  }
}

/** @param {string} output @returns {Outcome} */
const broken = (output) => ({ passed: 0, failed: 1, output });

/**
 * One tool, one check.
 *
 * @param {string} script
 * @param {...string} args
 * @returns {Promise<Outcome>}
 */
async function check(script, ...args) {
  const { code, output } = await node(script, args);
  return code === 0 ? { passed: 1, failed: 0, output } : broken(output);
}

/**
 * @param {string} script
 * @param {string[]} args
 * @param {boolean} [echo]
 */
const node = (script, args, echo = false) =>
  runTool(process.execPath, [bin(script), ...args], { cwd: root, echo, env: colours });

/**
 * A type checker that looks at nothing is content with everything. So each runs with a type error
 * planted in a room of its own, and has to report that error and no other.
 *
 * @returns {Promise<Outcome>}
 */
async function checkTypes() {
  const wrong = "const planted: number = 'a type error on purpose';\nvoid planted;\n";
  const plants = [
    { path: 'packages/core/src/planted-error.ts', text: `${wrong}export {};\n` },
    {
      path: 'apps/web/src/planted-error.svelte',
      text: `<script lang="ts">\n${wrong}</script>\n`,
    },
  ];
  const remove = () => Promise.all(plants.map(({ path }) => rm(join(root, path), { force: true })));
  const interrupted = () => void remove().finally(() => process.exit(1));
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    for (const { path, text } of plants) await writeFile(join(root, path), text);
    const tsc = await node('typescript/bin/tsc', ['-p', '.', '--pretty', 'false']);
    const svelte = await node('svelte-check/bin/svelte-check', [
      '--tsconfig',
      './tsconfig.json',
      '--output',
      'machine',
      '--threshold',
      'error',
    ]);
    const outcomes = [
      onlyPlanted('tsc', tsc.output, / error TS\d+: /, ['planted-error.ts']),
      onlyPlanted('svelte-check', svelte.output, / ERROR /, [
        'planted-error.ts',
        'planted-error.svelte',
      ]),
    ];
    return {
      passed: outcomes.filter((words) => words === '').length,
      failed: outcomes.filter((words) => words !== '').length,
      output: outcomes.join('\n'),
    };
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await remove();
  }
}

/**
 * What is wrong with a checker's report, in words; nothing when it names the plants alone.
 *
 * @param {string} tool
 * @param {string} output
 * @param {RegExp} error marks a line that reports an error
 * @param {string[]} plants
 */
function onlyPlanted(tool, output, error, plants) {
  const lines = output.split('\n').filter((line) => error.test(line));
  const missed = plants.filter((plant) => !lines.some((line) => line.includes(plant)));
  if (missed.length > 0)
    return `${tool} did not see the error planted in ${missed.join(', ')}:\n${tail(output, 20)}`;
  return lines.filter((line) => !line.includes('planted-error')).join('\n');
}

/**
 * @param {string} project
 * @returns {Promise<Outcome>}
 */
async function vitest(project) {
  const folder = await mkdtemp(join(tmpdir(), 'rapport-tests-'));
  const file = join(folder, 'report.json');
  try {
    const args = ['run', '--project', project, '--reporter=dot', '--reporter=json'];
    const { code, output } = await node(
      'vitest/vitest.mjs',
      [...args, `--outputFile=${file}`],
      true,
    );
    const report = JSON.parse(await readFile(file, 'utf8').catch(() => '{"testResults":[]}'));
    return count(project, code, output, report);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * A file that could not be loaded is a failure, and so is a project without any test.
 *
 * @param {string} project
 * @param {number} code
 * @param {string} output
 * @param {{testResults: {status: string, assertionResults: {status: string}[]}[]}} report
 * @returns {Outcome}
 */
function count(project, code, output, { testResults }) {
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  const passed = tests.filter(({ status }) => status === 'passed').length;
  const failedTests = tests.filter(({ status }) => status === 'failed').length;
  const unloaded = testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = failedTests + unloaded;
  if (passed + failed === 0) return broken(`No test of ${project} ran.\n${tail(output, 20)}`);
  // The failures were shown as they came.
  return { passed, failed: failed === 0 && code !== 0 ? 1 : failed, output: '' };
}

await main(process.argv.slice(2));
