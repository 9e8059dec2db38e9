import { expect } from 'chai'
import fc from 'fast-check'
import { conflicts, emptyWrites, overlaps, parsePointer, pathsOf, together, type Writes } from '#src/store/patch.js'
import { createTree } from '#src/store/tree.js'
import type { JsonValue } from '#src/protocol/json.js'
import type { Patch } from '#src/protocol/replication.js'

const writes = (paths: string[], appends: [string, number][] = []): Writes => ({
  paths: new Set(paths),
  appends: new Map(appends),
})

const writesOf = (state: JsonValue, patch: Patch): Writes => {
  const transaction = createTree(state).begin()
  expect(transaction.apply(patch)).equal(true)
  return transaction.finish().writes
}

/** The rules word by word: every index that an append of a commit wrote is spelled out, up to a bound. */
const HIGHEST_INDEX = 12
function slowConflicts(mutate: Writes, committed: Writes): boolean {
  const meet = (a: string, b: string) => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`)
  const below = (path: string, above: string) => path === above || path.startsWith(`${above}/`)
  const wrote = [...committed.paths]
  for (const [array, index] of committed.appends) {
    for (let i = index; i <= HIGHEST_INDEX; i++) wrote.push(`${array}/${i}`)
  }
  for (const path of mutate.paths) if (wrote.some((other) => meet(path, other))) return true
  for (const array of mutate.appends.keys()) if (wrote.some((other) => below(array, other))) return true
  return false
}

describe('patch', () => {
  it('takes a pointer apart, and refuses what is none or names a prototype', () => {
    expect(parsePointer('')).deep.equal([])
    expect(parsePointer('/')).deep.equal([''])
    expect(parsePointer('/a~1b/~0/0')).deep.equal(['a/b', '~', '0'])
    for (const bad of ['a', '/~', '/~2', '/a/__proto__', '/constructor/prototype']) {
      expect(parsePointer(bad), bad).equal(undefined)
    }
  })

  it('meets equal, above and below, and nothing beside', () => {
    const meets = (a: string, b: string) => conflicts(writes([a]), writes([b]))
    expect(meets('/a/b', '/a/b')).equal(true)
    expect(meets('/a/b', '/a')).equal(true)
    expect(meets('/a', '/a/b/c')).equal(true)
    expect(meets('', '/a')).equal(true)
    expect(meets('/a', '')).equal(true)
    expect(meets('/a/b', '/a/c')).equal(false)
    expect(meets('/a', '/ab')).equal(false)
    expect(meets('/a~1b', '/a/b')).equal(false)
    expect(conflicts(emptyWrites, writes(['']))).equal(false)
    expect(conflicts(writes(['']), emptyWrites)).equal(false)
  })

  it('lets appends pass each other and elements, but not the array', () => {
    const append = writes([], [['/list', 3]])
    expect(conflicts(append, append)).equal(false)
    expect(conflicts(append, writes(['/list/0/x']))).equal(false)
    expect(conflicts(append, writes(['/list']))).equal(true)
    expect(conflicts(append, writes(['']))).equal(true)
    expect(conflicts(writes(['/list/3/x']), append), 'the index it got').equal(true)
    expect(conflicts(writes(['/list/10']), append), 'a higher one, as a number').equal(true)
    expect(conflicts(writes(['/list/2']), append)).equal(false)
    expect(conflicts(writes(['/list']), append)).equal(true)
    expect(conflicts(writes([], [['/list/3/inner', 0]]), append), 'inside what was appended').equal(true)
    expect(conflicts(append, writes([], [['/list/2/inner', 0]]))).equal(false)
    expect(overlaps(append, append)).equal(false)
    expect(overlaps(append, writes(['/list/4']))).equal(true)
  })

  it('knows from the state what an operation writes', () => {
    const state = { list: [1, 2], map: { 0: 'a' } }
    const of = (...patch: Patch) => {
      const { paths, appends } = writesOf(structuredClone(state), patch)
      return [[...paths], [...appends]]
    }
    expect(of({ op: 'add', path: '/list/0', value: 0 })).deep.equal([['/list'], []])
    expect(of({ op: 'remove', path: '/list/1' })).deep.equal([['/list'], []])
    expect(of({ op: 'replace', path: '/list/1', value: 9 })).deep.equal([['/list/1'], []])
    expect(of({ op: 'add', path: '/list/-', value: 3 }, { op: 'add', path: '/list/-', value: 4 })).deep.equal([
      [],
      [['/list', 2]],
    ])
    expect(of({ op: 'add', path: '/map/1', value: 0 })).deep.equal([['/map/1'], []])
    expect(of({ op: 'replace', path: '/map/0', value: 'a' }), 'the same value is a write').deep.equal([['/map/0'], []])
    expect(of({ op: 'add', path: '', value: null })).deep.equal([[''], []])
  })

  it('tells listeners the topmost paths', () => {
    expect(pathsOf(writes(['/a/b', '/a', '/c']), writes(['/a/b/d'], [['/list', 1]]))).deep.equal([
      '/a',
      '/c',
      '/list/-',
    ])
    expect(pathsOf(writes(['/list'], [['/list', 1]]), emptyWrites)).deep.equal(['/list'])
    expect(pathsOf(writes(['', '/a']))).deep.equal([''])
  })

  const token = fc.constantFrom('a', 'list', '0', '2', '10', 'x')
  const path = fc.array(token, { maxLength: 4 }).map((tokens) => tokens.map((one) => `/${one}`).join(''))
  const any = fc
    .tuple(fc.array(path, { maxLength: 4 }), fc.array(fc.tuple(path, fc.nat(HIGHEST_INDEX)), { maxLength: 2 }))
    .map(([paths, appends]) => writes(paths, appends))

  it('meets two changes together where it meets one of them', () => {
    fc.assert(
      fc.property(any, any, any, (mutate, first, second) => {
        const met = overlaps(mutate, first) || overlaps(mutate, second)
        expect(overlaps(mutate, together(first, second))).equal(met)
      }),
      { numRuns: 2000 },
    )
    const first = writes(['/a'], [['/list', 1]])
    expect(together(first, writes(['/a'], [['/list', 2]])), 'nothing is added').equal(first)
  })

  it('agrees with the rules spelled out, for any writes', () => {
    fc.assert(
      fc.property(any, any, (mutate, committed) => {
        expect(conflicts(mutate, committed)).equal(slowConflicts(mutate, committed))
      }),
      { numRuns: 5000 },
    )
  })
})
