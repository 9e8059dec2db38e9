/** `npm start`, also in a fresh clone: installs what is missing, builds, and runs the example. */
import { build } from './build.mjs'
import { installPackages } from './install.mjs'
import { main } from './run.mjs'

await main(async () => {
  await installPackages()
  await build()
  // In this process, so that Ctrl-C and a supervisor's signals reach it without a go-between.
  await import('../examples/board/server.js')
})
