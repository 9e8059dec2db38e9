import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  // The consumer of test/package resolves its imports only where it is installed.
  globalIgnores(['dist/', 'build/', 'data/', 'test/package/']),
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      // Numbers in a sentence need no String().
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // wrtc crashes when it is asked for one while its own thread adds a candidate: keep what was made or received.
      'no-restricted-syntax': [
        'error',
        {
          selector: 'MemberExpression[property.name=/^(current|pending)?([lL]ocal|[rR]emote)Description$/]',
          message: 'See docs/decisions/native-connection-owner.md.',
        },
      ],
      // An AbortSignal's reason is whatever its owner gave.
      '@typescript-eslint/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],

      // Off, each because it refuses what is meant here:
      // `(state: S) => S | void` is the store's contract, and `return say(...)` ends a handler early;
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // `async` is how a method keeps its promise to throw nothing synchronously, with or without an await;
      '@typescript-eslint/require-await': 'off',
      // a flag of the object may change in a call that the rule cannot see into;
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // state is JSON: objects with keys that come and go;
      '@typescript-eslint/no-dynamic-delete': 'off',
      // `on<P>(event, handler: Handler<S, P>)` names a payload's type once, for whoever calls it;
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      // adopting a store takes its methods apart on purpose, and calls them with their owner;
      '@typescript-eslint/unbound-method': 'off',
      // `() => void work()` says that the result is not used, whatever it is;
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      // `await undefined` waits for the microtasks before it.
      '@typescript-eslint/await-thenable': 'off',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // chai's assertions are properties, and a hole in an array is worth a test.
      '@typescript-eslint/no-unused-expressions': 'off',
      '@typescript-eslint/no-array-delete': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Tests do on purpose what a program should not.
      '@typescript-eslint/no-array-delete': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-meaningless-void-operator': 'off',
    },
  },
)
