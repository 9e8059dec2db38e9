/** test/vectors, run by the parser in Python that was written from docs/PROTOCOL.md alone. Ours: test/unit/vectors.test.ts. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { environment, python, sources } from './python.js'

interface Report {
  readonly file: string
  readonly passed: number
  readonly failed: readonly string[]
}

const folder = new URL('../../test/vectors/', import.meta.url)
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.json') && file !== 'schema-hashes.json')
  .sort()

/** How many examples a file has, valid ones and others. */
function countIn(file: string): number {
  const { valid, invalid } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Record<string, unknown[]>
  return (valid?.length ?? 0) + (invalid?.length ?? 0)
}

describe('vectors, in Python', () => {
  let reports: readonly Report[]

  before(() => {
    const script = fileURLToPath(new URL('vectors.py', sources))
    const { stdout, stderr, status } = spawnSync(python, [script, fileURLToPath(folder)], {
      env: environment,
      encoding: 'utf8',
    })
    expect(status, stderr).to.equal(0)
    reports = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Report)
  })

  it('were all run', () => {
    expect(reports.map(({ file }) => file)).to.have.members(files)
  })

  for (const file of files) {
    it(`${file}: ${countIn(file)} examples`, () => {
      const report = reports.find((report) => report.file === file)
      expect(report?.failed).to.deep.equal([])
      expect(report?.passed).to.equal(countIn(file))
    })
  }
})
