/** `npm start [-- EXAMPLE]`, also in a fresh clone: installs what is missing, builds, and runs the example: the board by default. */
import { existsSync } from 'node:fs'
import { build } from './build.mjs'
import { installPackages } from './install.mjs'
import { CommandFailed, main } from './run.mjs'

const [example = 'board'] = process.argv.slice(2)

await main(async () => {
  const server = new URL(`../examples/${example}/server.js`, import.meta.url)
  if (!existsSync(server)) throw new CommandFailed(`There is no example "${example}" to start.`)
  await installPackages()
  await build()
  // In this process, so that Ctrl-C and a supervisor's signals reach it without a go-between.
  await import(server.href)
})
