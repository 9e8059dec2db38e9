/** `npm run check`, also in a fresh clone: format, lint, types, build, packaging. Every step runs; the ones that failed are named at the end. */
import { checkPackage } from './check-package.mjs'
import { installPackages } from './install.mjs'
import { build } from './build.mjs'
import { CommandFailed, main, runTool } from './run.mjs'

const tsc = (project) => runTool('typescript/bin/tsc', ['--noEmit', '-p', project])

const STEPS = {
  format: () => runTool('prettier/bin/prettier.cjs', ['--check', '--log-level=warn', '.']),
  build,
  // A stray Buffer or window in these two is a compile error: their own tsconfig knows neither Node nor the DOM.
  'types of src/protocol': () => tsc('src/protocol'),
  'types of src/store': () => tsc('src/store'),
  'types of test': () => tsc('test'),
  'types of the public face': () => tsc('test/types'),
  'types of the examples': () => tsc('examples'),
  lint: () => runTool('eslint/bin/eslint.js', ['--max-warnings=0', '.']),
  'unused files, exports and dependencies': () => runTool('knip/bin/knip.js', []),
  package: checkPackage,
}

await main(async () => {
  await installPackages()
  const failed = []
  for (const [name, step] of Object.entries(STEPS)) {
    const began = performance.now()
    console.log(`\n== ${name}`)
    try {
      await step()
      console.log(`ok, ${((performance.now() - began) / 1000).toFixed(1)} s`)
    } catch (error) {
      console.error(error instanceof CommandFailed ? error.message : error)
      failed.push(name)
    }
  }
  if (failed.length > 0) throw new CommandFailed(`\nFailed: ${failed.join('; ')}`)
  console.log('\nAll checks passed')
})
