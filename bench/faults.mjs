/**
 * `npm run bench:faults [-- TEST FILE...]`: the tests of faults in their long form, and a table of what they found. SEED
 * in the environment repeats a run.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CommandFailed, ended, main, root } from '../scripts/run.mjs'

const tests = () =>
  readdirSync(join(root, 'test/faults'))
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => `test/faults/${file}`)

await main(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'named-master-faults-'))
  const file = join(folder, 'table')
  writeFileSync(file, '')
  try {
    const seed = process.env.SEED ?? String(Math.floor(Math.random() * 2 ** 31))
    const chosen = process.argv.slice(2)
    const files = chosen.length > 0 ? chosen : tests()
    const child = spawn(process.execPath, [join(root, 'scripts/test.mjs'), ...files], {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, FAULTS: 'long', SEED: seed, FAULTS_TABLE: file },
    })
    const { code } = await ended(child)
    console.log(`\n| seed ${seed} | figures |\n| --- | --- |`)
    for (const line of readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .filter((text) => text !== '')) {
      const { what, figures } = JSON.parse(line)
      console.log(`| ${what} | ${figures.join(', ')} |`)
    }
    if (code !== 0) throw new CommandFailed('Not all tests of faults passed.')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
