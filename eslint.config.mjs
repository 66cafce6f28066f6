import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';
import { boundaries } from './scripts/lint/boundaries.mjs';

export default tseslint.config(
  { ignores: ['dist', 'build', '.deps', '.artifacts', 'node_modules', 'vitest.config.ts'] },
  eslint.configs.recommended,
  {
    files: ['**/*.mjs'],
    languageOptions: {
      globals: Object.fromEntries(
        ['console', 'process', 'URL', 'setTimeout', 'performance', 'fetch', 'Buffer'].map(name => [name, 'readonly']),
      ),
    },
  },
  {
    files: ['{extension,webview,test}/**/*.{ts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ['extension/{core,protocol,engine,host}/tsconfig.json', 'webview/tsconfig.json', 'test/tsconfig.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    plugins: { lq: { rules: { boundaries } } },
    rules: {
      'lq/boundaries': 'error',
      eqeqeq: 'error',
      'max-depth': ['error', 5],
      complexity: ['error', 25],
      'no-console': ['error', { allow: ['error'] }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Numbers and shapes are what this product prints.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowArray: true },
      ],
      // `noUncheckedIndexedAccess` makes every array access optional; in numeric loops the bound is the proof.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // Interfaces here are written with method syntax and implemented by plain functions.
      '@typescript-eslint/unbound-method': 'off',
      // A protocol's method name decides its types, even where it is named once.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      // Published constants have more digits than a double keeps.
      'no-loss-of-precision': 'off',
      // Names in checkpoints come from strangers and are cleaned of control characters.
      'no-control-regex': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    // A test may reach into any room, and asserts on loosely typed JSON that peers wrote.
    files: ['test/**/*.{ts,tsx}'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/require-await': 'off',
    },
  },
);
