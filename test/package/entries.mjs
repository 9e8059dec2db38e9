// Imports and requires every entry point of the installed package, and ends by itself.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { exports: entries } = require('named-master/package.json')

for (const entry of Object.keys(entries).filter((key) => key !== './package.json')) {
  const name = entry.replace('.', 'named-master')
  const imported = await import(name)
  assert.ok(Object.keys(imported).length > 0, `${name} exports nothing`)
  assert.deepEqual(Object.keys(require(name)), Object.keys(imported), `require('${name}') differs from import`)
  console.log(`${name}: ${Object.keys(imported).join(', ')}`)
}

// The native part is loaded at the first connection, so that the rest works where there is no binary of it.
const native = Object.keys(require.cache).filter((path) => /node_modules\/(wrtc|@roamhq)\//.test(path))
assert.deepEqual(native, [], 'importing must not load wrtc')
