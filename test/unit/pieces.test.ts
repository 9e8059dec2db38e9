import { expect } from 'chai'
import fc from 'fast-check'
import { isForbiddenKey, type JsonValue } from '#src/protocol/json.js'
import { Assembly, divide, type Piece } from '#src/store/pieces.js'

const anyKey = fc.string({ maxLength: 6 }).filter((key) => !isForbiddenKey(key))
const { narrow } = fc.letrec<{ narrow: JsonValue }>((tie) => ({
  narrow: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)),
    fc.array(tie('narrow'), { maxLength: 6 }),
    fc.dictionary(anyKey, tie('narrow'), { maxKeys: 6 }),
  ),
}))
/** One of which the pieces are slices. */
const wide = fc.oneof(
  fc.array(fc.oneof(fc.integer(), fc.record({ a: fc.string(), b: fc.integer() })), { minLength: 257, maxLength: 300 }),
  fc
    .uniqueArray(anyKey, { minLength: 257, maxLength: 300 })
    .map((keys) => Object.fromEntries(keys.map((key, n) => [key, n]))),
)
const anyState = fc.oneof(
  narrow,
  fc.array(narrow, { maxLength: 20 }),
  fc.record({ before: narrow, wide, after: narrow }),
)

/** All pieces, as they would travel. */
function piecesOf(state: JsonValue, characters?: number): { skeleton: JsonValue; pieces: Piece[] } {
  const { skeleton, pieces } = divide(state, characters)
  const all: Piece[] = []
  for (const piece of pieces ?? []) all.push(JSON.parse(JSON.stringify(piece)) as Piece)
  return { skeleton: JSON.parse(JSON.stringify(skeleton)) as JsonValue, pieces: all }
}

function joined(state: JsonValue, characters?: number): JsonValue {
  const { skeleton, pieces } = piecesOf(state, characters)
  const assembly = new Assembly(skeleton)
  for (const piece of pieces) assembly.add(piece)
  return assembly.value
}

const unfit = (skeleton: JsonValue, piece: Piece) => () => {
  new Assembly(skeleton).add(piece)
}

describe('a state in pieces', () => {
  it('is the same when it is joined, its keys in their order', () => {
    fc.assert(
      fc.property(anyState, fc.integer({ min: 1, max: 500 }), (state, characters) => {
        expect(JSON.stringify(joined(state, characters))).to.equal(JSON.stringify(state))
      }),
      { numRuns: 200 },
    )
  })

  it('is whole when it is small, whatever it is', () => {
    for (const state of [null, 0, '', 'x'.repeat(1_000_000), [], {}, { a: [1, 2, { b: null }] }]) {
      expect(divide(state)).to.deep.equal({ skeleton: state, pieces: undefined })
    }
  })

  it('has pieces of about one size, of wide and of narrow containers', () => {
    const item = (n: number): JsonValue => ({ id: `item ${n}`, text: 'x'.repeat(50 + (n % 100)), at: [n, n / 3] })
    const items = Array.from({ length: 20_000 }, (_, n) => item(n))
    const state: JsonValue = {
      title: 'Garage',
      items,
      byId: Object.fromEntries(items.map((each, n) => [`i${n}`, each])),
      rooms: Array.from({ length: 40 }, (_, n) => ({ name: `r${n}`, log: 'y'.repeat(30_000) })),
      deep: { deeper: { deepest: items.slice(0, 1000) } },
    }
    const { pieces } = piecesOf(state)
    const sizes = pieces.map((piece) => JSON.stringify(piece).length)
    expect(Math.max(...sizes)).to.be.lessThan(2 * 64 * 1024)
    const total = sizes.reduce((sum, size) => sum + size, 0)
    expect(pieces.length).to.be.lessThan((2 * total) / (64 * 1024))
    expect(JSON.stringify(joined(state))).to.equal(JSON.stringify(state))
  })

  it('has no larger pieces where what follows many small values is large', () => {
    const text = 'x'.repeat(20_000)
    const state = [...Array.from({ length: 60_000 }, (_, n) => n % 10), ...Array.from({ length: 300 }, () => text)]
    const sizes = piecesOf(state).pieces.map((piece) => JSON.stringify(piece).length)
    expect(Math.max(...sizes)).to.be.lessThan(2 * 64 * 1024)
  })

  it('keeps together what is too deep for a path', () => {
    const key = 'k'.repeat(5000)
    const state: JsonValue = {
      [key]: { [key]: Array.from({ length: 2000 }, (_, n) => `item ${n} ${'x'.repeat(100)}`) },
    }
    const { pieces } = piecesOf(state)
    expect(Math.max(...pieces.map(({ path }) => path.length))).to.be.lessThan(8193)
    expect(joined(state)).to.deep.equal(state)
  })

  it('is divided by taking each step when it is asked for', () => {
    const state = Array.from({ length: 100_000 }, (_, n) => `item ${n}`)
    const { pieces } = divide(state)
    const first = pieces?.next().value as Piece
    state.length = first.elements?.length ?? 0
    expect(pieces?.next().done).to.equal(false)
  })

  it('takes no piece that fits nowhere', () => {
    const skeleton = (): JsonValue => ({ list: [], map: {}, text: 'x', full: [1, { a: 1 }] })
    const elements = [1]
    const members = { a: 1 }
    const wrong: Piece[] = [
      { path: '', elements },
      { path: '/list', members },
      { path: '/map', elements },
      { path: '/nowhere', elements },
      { path: '/text', elements },
      { path: '/text/0', elements },
      { path: '/list/0', members },
      { path: '/list/-', members },
      { path: '/full/01', members },
      { path: '/toString', members },
      { path: '/list/length', members },
      { path: '/map' },
      { path: 'map', members },
    ]
    for (const piece of wrong)
      expect(unfit(skeleton(), piece), JSON.stringify(piece)).to.throw().with.property('code', 'invalid-message')
    expect(unfit('text', { path: '', elements })).to.throw()
    expect(unfit({ a: 1 }, { path: '/a', members })).to.throw()
  })

  it('nests no deeper in pieces than it may as a whole', () => {
    const nested = (levels: number): JsonValue => (levels === 0 ? 1 : [nested(levels - 1)])
    const skeleton = (): JsonValue => ({ a: { b: [] } })
    expect(unfit(skeleton(), { path: '/a/b', elements: [nested(125)] })).not.to.throw()
    expect(unfit(skeleton(), { path: '/a/b', elements: [nested(126)] }))
      .to.throw()
      .with.property('code', 'invalid-message')
  })
})
