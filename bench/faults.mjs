/**
 * `npm run bench:faults [-- FILE...]`: the tests of test/faults in their long form, and what they counted as a table in
 * bench/faults.md. Files that are not run keep their lines. SEED=... repeats an earlier run.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { main, root, run, runTool } from '../scripts/run.mjs'
import { replaceBetween } from './report.mjs'

const PAGE = join(root, 'bench/faults.md')
const all = () => readdirSync(join(root, 'test/faults')).map((file) => `test/faults/${file}`)

/** The table with new lines for the files that ran, each line beginning with its file. */
function tableOf(before, measured, day, seed) {
  const lines = new Map()
  for (const line of before.split('\n').slice(2)) {
    const [, file] = /^\| (\S+)/.exec(line) ?? []
    if (file !== undefined) lines.set(file, [...(lines.get(file) ?? []), line])
  }
  for (const { file } of measured) lines.set(file, [])
  for (const { file, what, figures } of measured) {
    lines.get(file).push(`| ${file} | ${what} | ${figures} | ${day}, ${seed} |`)
  }
  const sorted = [...lines].sort(([a], [b]) => a.localeCompare(b)).flatMap(([, of]) => of)
  return ['| test | what | figures | day, seed |', '| --- | --- | --- | --- |', ...sorted].join('\n')
}

await main(async () => {
  const files = process.argv.slice(2)
  const seed = process.env.SEED ?? String(Math.floor(Math.random() * 2 ** 31))
  const folder = mkdtempSync(join(tmpdir(), 'named-master-faults-'))
  const figures = join(folder, 'figures')
  console.log(`SEED=${seed}`)
  try {
    const env = { ...process.env, FAULTS: 'long', SEED: seed, FAULTS_FIGURES: figures }
    await run(process.execPath, ['scripts/test.mjs', ...(files.length === 0 ? all() : files)], { env })
    const measured = readFileSync(figures, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const page = readFileSync(PAGE, 'utf8')
    const before = /<!-- table -->\s*(.*?)\s*<!-- \/table -->/s.exec(page)?.[1] ?? ''
    const day = new Date().toISOString().slice(0, 10)
    writeFileSync(PAGE, replaceBetween(page, 'table', tableOf(before, measured, day, seed)))
    await runTool('prettier/bin/prettier.cjs', ['--write', '--log-level=warn', PAGE])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
