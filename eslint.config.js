// What the compiler does not see: lost promises, borders between rooms, unsafe markup.
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import tseslint from 'typescript-eslint';

const tests = ['**/*.test.ts'];

/** A border: what may not be imported, and why. */
const border = (group, message) => ({ group, message });

const noApps = border(
  ['@rapport/server', '@rapport/web', '**/apps/**'],
  'Arrows point from apps to packages.',
);
const noNode = border(['node:*'], 'Packages know no platform: pass it in.');
const noRlhf = border(['@rapport/rlhf', '**/rlhf/**'], 'Arrows point from rlhf to core.');
const noInside = border(['@rapport/*/*'], 'Import from the door of the package.');

/** Globals of one platform only. What every platform has (URL, TextDecoder, crypto) is free. */
const platform = [
  'Buffer',
  'Worker',
  'caches',
  'document',
  'fetch',
  'global',
  'indexedDB',
  'localStorage',
  'location',
  'navigator',
  'process',
  'require',
  'self',
  'sessionStorage',
  'window',
].map((name) => ({ name, message: 'Packages know no platform: pass it in.' }));

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      '**/node_modules/**',
      // AssemblyScript: its own compiler checks it.
      'packages/core/kernels/*.ts',
      '.rapport/**',
      '.cache/**',
      '.carry/**',
      'coverage/**',
      // AssemblyScript: its compiler checks it.
      'packages/core/kernels/**',
    ],
  },
  ...tseslint.configs.recommended,
  ...svelte.configs.recommended,
  {
    languageOptions: {
      globals: { ...globals.browser, ...globals.node },
      parserOptions: {
        projectService: true,
        extraFileExtensions: ['.svelte'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none' },
      ],
    },
  },
  {
    files: ['**/*.ts', '**/*.svelte', '**/*.mjs'],
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
    },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: tseslint.parser } },
    rules: {
      'svelte/no-at-html-tags': 'error',
      'svelte/no-target-blank': 'error',
      // Maps and sets inside a function are no shared state; the rule cannot tell.
      'svelte/prefer-svelte-reactivity': 'off',
      // There is no SvelteKit router here.
      'svelte/no-navigation-without-resolve': 'off',
    },
  },
  // tsc reports the same with better words.
  {
    files: ['eslint.config.js'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false } },
  },
  {
    files: ['packages/core/src/**/*.ts'],
    ignores: tests,
    rules: {
      'no-restricted-imports': ['error', { patterns: [noApps, noNode, noRlhf, noInside] }],
      'no-restricted-globals': ['error', ...platform],
    },
  },
  {
    files: ['packages/rlhf/src/**/*.ts'],
    ignores: tests,
    rules: {
      'no-restricted-imports': ['error', { patterns: [noApps, noNode, noInside] }],
      'no-restricted-globals': ['error', ...platform],
    },
  },
  {
    files: ['apps/server/**/*.{ts,mjs}'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            noInside,
            border(
              ['@rapport/web', '**/web/**'],
              'Web and server meet only at the feedback schema.',
            ),
          ],
        },
      ],
    },
  },
  {
    files: ['apps/web/**/*.{ts,svelte}'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            noInside,
            {
              ...border(
                ['@rapport/server', '@rapport/server/**', '**/server/**'],
                'The web takes only types from the server.',
              ),
              allowTypeImports: true,
            },
          ],
        },
      ],
      'no-restricted-properties': [
        'error',
        { property: 'innerHTML', message: 'Build elements; markup from text is never trusted.' },
        { property: 'outerHTML', message: 'Build elements; markup from text is never trusted.' },
        {
          property: 'insertAdjacentHTML',
          message: 'Build elements; markup from text is never trusted.',
        },
      ],
    },
  },
);
