/** docs/ARCHITECTURE.md is the rule: its tables are read here and held against the tree. */
import { readFileSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path/posix'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))
const document = readFileSync(join(root, 'docs/ARCHITECTURE.md'), 'utf8')

const filesBelow = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))

const sources = ['src', 'nameserver'].flatMap(filesBelow).filter((file) => /(?<!\.d)\.ts$/.test(file))

/** The rows of the tables below a heading, each cell as what stands in it between backquotes. */
function tablesUnder(heading: string): string[][][] {
  const section = document.split(/^## /m).find((text) => text.startsWith(`${heading}\n`))
  if (section === undefined) expect.fail(`docs/ARCHITECTURE.md has no section "${heading}"`)
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').slice(1, -1))
    .map((cells) => cells.map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')))
}

const mapped = tablesUnder('The map').map(([file]) => file?.[0] ?? '')

const rules = new Map(
  tablesUnder('Who may import whom').map(([room, ours = [], others = []]) => [room?.[0] ?? '', { ours, others }]),
)

const roomOf = (path: string): string | undefined =>
  [...rules.keys()].find((room) => path === room || path.startsWith(`${room}/`))

interface Import {
  readonly file: string
  /** A room of ours, an alias of package.json, or the name of a package. */
  readonly target: string
  readonly ours: boolean
}

function importsOf(file: string): Import[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(join(root, file), 'utf8'), true, true)
  return importedFiles.map(({ fileName: specifier }) => {
    if (specifier.startsWith('#')) return { file, target: specifier, ours: true }
    if (!specifier.startsWith('.')) return { file, target: packageOf(specifier), ours: false }
    const path = join(dirname(file), specifier.replace(/\.js$/, '.ts'))
    return { file, target: roomOf(path) ?? path, ours: true }
  })
}

const packageOf = (specifier: string): string =>
  specifier.startsWith('node:')
    ? 'node:*'
    : specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')

describe('architecture', () => {
  it('names every source file once, and no file that is not there', () => {
    expect(
      sources.filter((file) => !mapped.includes(file)),
      'not in the map',
    ).to.deep.equal([])
    expect(
      mapped.filter((file, index) => !sources.includes(file) || mapped.indexOf(file) < index),
      'no such file, or twice',
    ).to.deep.equal([])
  })

  it('has every source file in a room', () => {
    expect(sources.filter((file) => roomOf(file) === undefined)).to.deep.equal([])
  })

  for (const [room, { ours, others }] of rules) {
    it(`${room} imports only what its row allows`, () => {
      const allowed = new Set([room, ...ours, ...others])
      const imports = sources.filter((file) => roomOf(file) === room).flatMap(importsOf)
      const strangers = imports
        .filter(({ target }) => !allowed.has(target))
        .map(({ file, target }) => `${file}: ${target}`)
      expect(strangers, 'move the code, or change the row in docs/ARCHITECTURE.md and say why').to.deep.equal([])
    })

    it(`${room} imports all that its row allows`, () => {
      const imported = new Set(
        sources
          .filter((file) => roomOf(file) === room)
          .flatMap(importsOf)
          .map(({ target }) => target),
      )
      expect(
        [...ours, ...others].filter((target) => !imported.has(target)),
        'take it out of the row',
      ).to.deep.equal([])
    })
  }

  it('has no cycle between rooms', () => {
    const below = new Map(
      [...rules].map(([room, { ours }]) => [room, ours.map((target) => aliases.get(target) ?? target)]),
    )
    const cycleFrom = (room: string, way: readonly string[]): string | undefined =>
      way.includes(room)
        ? [...way, room].join(' -> ')
        : (below.get(room) ?? []).map((next) => cycleFrom(next, [...way, room])).find((found) => found !== undefined)
    expect([...rules.keys()].map((room) => cycleFrom(room, [])).filter((found) => found !== undefined)).to.deep.equal(
      [],
    )
  })

  it('has no room for odds and ends', () => {
    const everywhere = [...sources, ...['test', 'scripts', 'examples'].flatMap(filesBelow)]
    const odd = everywhere.filter((file) => /^(utils?|types|helpers?|common|managers?)\.[a-z.]+$/.test(basename(file)))
    expect(odd).to.deep.equal([])
  })

  it('reads the imports that count: types, re-exports and dynamic ones', () => {
    const text = `
      import type { A } from './a.js'
      export * from './b.js'
      export type { C } from './c.js'
      const d = await import('./d.js')
      type E = import('./e.js').E`
    const found = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName)
    expect(found).to.have.members(['./a.js', './b.js', './c.js', './d.js', './e.js'])
  })
})

const aliases = new Map([
  ['#rtc', 'src/platform'],
  ['#deflate', 'src/platform'],
  ['#storage', 'src/platform'],
])
