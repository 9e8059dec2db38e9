/** `npm run bench` itself takes minutes; that it starts, and that its README tells of every row, is looked at here. */
import { expect } from 'chai'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const inBench = (file: string): string => fileURLToPath(new URL(`../../bench/${file}`, import.meta.url))
const bench = (option: string): string =>
  execFileSync(process.execPath, [inBench('run.mjs'), option], { encoding: 'utf8' })

const rows = (): string[] =>
  bench('--list')
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')

describe('the bench', () => {
  it('lists its rows, and each is a file', () => {
    const listed = rows()
    expect(listed).to.have.length(11)
    for (const row of listed)
      expect(readFileSync(inBench(`rows/${row}.mjs`), 'utf8')).to.include('export async function run')
  })

  it('says what its options are', () => {
    expect(bench('--help')).to.include('--quick').and.to.include('--only ROW')
  })

  it('has every row in the table of its README, and says below what it does', () => {
    const readme = readFileSync(inBench('README.md'), 'utf8')
    const results = /<!-- table -->(.*)<!-- \/table -->/s.exec(readme)?.[1] ?? ''
    for (const row of rows()) {
      expect(results).to.include(`[${row}](#${row})`)
      expect(readme).to.match(new RegExp(`^### ${row}$`, 'm'))
    }
  })
})
