// Three kinds of tests: `unit` in Node, `browser` in Chromium, `story` on a real server and browser.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import { kernels, webConfig } from './apps/web/vite.ts';
import { chromiumArguments, findChromium } from './tests/support/chromium.mjs';
import { serveModel } from './tests/support/serve-model.ts';

const browserTests = '**/*.browser.test.ts';
const notIsolatedTests = '**/*.not-isolated.browser.test.ts';
const storyTests = 'tests/{story,faults}/**/*.test.ts';
const never = ['**/node_modules/**', '**/dist/**'];

/** Tests in Chromium, in pages that are served with `headers`. */
function inBrowser(
  name: string,
  headers: Record<string, string>,
  files: { include: string[]; exclude?: string[] },
): TestProjectInlineConfiguration {
  return {
    plugins: [svelte({ configFile: false }), kernels(), serveModel()],
    server: { headers },
    resolve: { conditions: webConfig.resolve.conditions },
    worker: { format: 'es' },
    optimizeDeps: webConfig.optimizeDeps,
    test: {
      name,
      ...files,
      fileParallelism: false,
      testTimeout: 120_000,
      hookTimeout: 120_000,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({
          launchOptions: { executablePath: findChromium(), args: chromiumArguments },
        }),
        instances: [{ browser: 'chromium' }],
      },
    },
  };
}

export default defineConfig({
  test: {
    // Two cores: more workers only take turns.
    maxWorkers: 2,
    projects: [
      {
        plugins: [svelte({ configFile: false })],
        test: {
          name: 'unit',
          environment: 'node',
          include: ['{apps,packages,tests,bench,setup}/**/*.test.ts'],
          exclude: [...never, browserTests, storyTests],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      // Threads in WASM need a cross-origin isolated page.
      inBrowser('browser', webConfig.server.headers, {
        include: [`{apps,packages,tests}/${browserTests}`],
        exclude: [...never, notIsolatedTests],
      }),
      inBrowser('browser-not-isolated', {}, { include: [`tests/${notIsolatedTests}`] }),
      {
        test: {
          name: 'story',
          environment: 'node',
          include: [storyTests],
          exclude: [...never, browserTests],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
