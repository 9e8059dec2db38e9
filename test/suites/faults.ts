/**
 * What the tests of faults share: a short form for `npm test` and a long one for `npm run bench:faults` (FAULTS=long),
 * one seed for all chances (SEED), and figures that are printed.
 */
import { appendFileSync } from 'node:fs'
import { basename } from 'node:path'

/** Of all chances; another one each time, and printed, so that a failure can be had again. */
export const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

export const long = (few: number, many: number): number => (process.env['FAULTS'] === 'long' ? many : few)

/** Prints figures on one line, and hands them to bench/faults.mjs where that runs the test; of a list its median, its 99th percentile and its largest. */
export function report(what: string, figures: Readonly<Record<string, number | readonly number[]>>): void {
  const list = Object.entries(figures).map(
    ([name, figure]) => `${name} ${typeof figure === 'number' ? figure : spread(figure)}`,
  )
  console.log(`      ${what}: ${list.join(', ')}`)
  const page = process.env['FAULTS_FIGURES']
  const file = basename(process.argv.find((argument) => argument.endsWith('.test.js')) ?? '', '.test.js')
  if (page !== undefined) appendFileSync(page, `${JSON.stringify({ file, what, figures: list.join(', ') })}\n`)
}

function spread(figures: readonly number[]): string {
  const sorted = figures.toSorted((a, b) => a - b)
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1)
  return `p50 ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)}`
}
