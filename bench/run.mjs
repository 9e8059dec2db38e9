/**
 * `npm run bench`: measures named-master beside what it is compared with, in one run, and says what is met and missed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from '../scripts/build.mjs'
import { installPackages } from '../scripts/install.mjs'
import { CommandFailed, main, runTool } from '../scripts/run.mjs'
import { Bench } from './bench.mjs'
import { charts } from './chart.mjs'
import { hotSpots } from './profile.mjs'
import { circumstances, circumstancesText, judge, lines, replaceBetween, table } from './report.mjs'
import { ROWS } from './rows.mjs'

const HELP = `npm run bench [-- OPTION...]

  --quick        two to three minutes instead of fifteen: smaller samples, wider intervals
  --only ROW     this row (again for several); see --list
  --write        write results/ and the table of bench/README.md, as a full run of all rows does
  --no-write     do not
  --name NAME    of the file in bench/results/ (default: the date)
  --profile DIR  also write a CPU profile of every process into DIR, and name the hot functions; figures are then slower
  --list         the rows
  --help         this

Rows that are not measured keep the lines of the latest results. Progress goes to stderr.`

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

function readOptions() {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        write: { type: 'boolean' },
        name: { type: 'string' },
        profile: { type: 'string' },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
      allowNegative: true,
    }).values
  } catch (error) {
    throw new CommandFailed(`${error.message}\n\n${HELP}`)
  }
}

/** One row, measured and judged. */
async function measure({ id, work }, { quick, profile }) {
  const began = performance.now()
  process.stderr.write(`${id}: ${work} `)
  const bench = new Bench(id, quick, profile)
  try {
    const { run } = await import(`./rows/${id}.mjs`)
    return { id, work, run: quick ? 'quick' : 'full', measures: judge(await run(bench)) }
  } finally {
    await bench.end()
    process.stderr.write(` ${((performance.now() - began) / 1000).toFixed(0)} s\n`)
  }
}

function show({ measures }) {
  for (const { what, ours, against, ratio, aim, verdict } of lines(measures)) {
    const compared = [against, ratio, aim && `aim ${aim}`, verdict].filter((text) => text !== '')
    console.log(`  ${[`${what}: ${ours}`, ...compared].join(' | ')}`)
  }
}

/** What was measured now, in place of the rows of the latest results. */
function merged(measured) {
  const results = readdirSync(here('results'))
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(here(`results/${file}`), 'utf8')))
    .sort((one, other) => one.date.localeCompare(other.date))
  const before = results.at(-1)?.rows ?? []
  return ROWS.map(({ id }) => [...measured, ...before].find((row) => row.id === id)).filter((row) => row !== undefined)
}

async function write(facts, measured, name = facts.date) {
  mkdirSync(here('results'), { recursive: true })
  const rows = merged(measured)
  const about = { ...facts, run: [...new Set(rows.map(({ run }) => run))].join(' and ') }
  writeFileSync(here(`results/${name}.json`), JSON.stringify({ ...about, rows }))
  for (const [file, svg] of Object.entries(charts(rows))) writeFileSync(here(`results/${file}`), svg)
  const readme = readFileSync(here('README.md'), 'utf8')
  writeFileSync(here('README.md'), replaceBetween(readme, 'table', `${circumstancesText(about)}.\n\n${table(rows)}`))
  await runTool('prettier/bin/prettier.cjs', ['--write', '--log-level=warn', 'bench/README.md', 'bench/results'])
  console.log(`Written: bench/README.md, bench/results/${name}.json`)
}

await main(async () => {
  const options = readOptions()
  if (options.help) return console.log(HELP)
  if (options.list) return console.log(ROWS.map(({ id, work }) => `${id.padEnd(12)} ${work}`).join('\n'))
  const unknown = options.only.find((id) => !ROWS.some((row) => row.id === id))
  if (unknown !== undefined) throw new CommandFailed(`There is no row "${unknown}": see --list`)
  await installPackages()
  await build()
  if (options.profile !== undefined) rmSync(options.profile, { recursive: true, force: true })

  const chosen = options.only.length === 0 ? ROWS : ROWS.filter(({ id }) => options.only.includes(id))
  const facts = circumstances()
  const measured = []
  const failed = []
  for (const row of chosen) {
    try {
      const judged = await measure(row, options)
      measured.push(judged)
      show(judged)
    } catch (error) {
      console.error(error)
      failed.push(row.id)
    }
    if (options.profile !== undefined) console.log(hotSpots(options.profile, row.id))
  }
  const complete = chosen.length === ROWS.length && !options.quick && failed.length === 0
  if (options.write ?? complete) await write(facts, measured, options.name)
  if (failed.length > 0) throw new CommandFailed(`Not measured: ${failed.join(', ')}`)
})
