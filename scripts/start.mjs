/** `npm start`, also in a fresh clone: installs what is missing, builds, and runs the example. */
import { installPackages } from './install.mjs'
import { main, root } from './run.mjs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

await main(async () => {
  await installPackages()
  const { build } = await import('./build.mjs')
  await build()
  // In this process, so that Ctrl-C and a supervisor's signals reach it without a go-between.
  await import(pathToFileURL(join(root, 'examples/board/server.js')).href)
})
