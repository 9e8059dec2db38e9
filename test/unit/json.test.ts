import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import fc from 'fast-check'
import { MAX_DEPTH, checkJson, copyJson, equalJson, escapeToken, type JsonValue } from '#src/protocol/json.js'

const nested = (levels: number, leaf: unknown = 1): unknown => {
  let value = leaf
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

const forbidden = ['__proto__', 'constructor', 'prototype']

/** What JSON can carry, as it comes out of a round trip. */
const json = fc
  .jsonValue({ maxDepth: 6, stringUnit: 'grapheme' })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  .filter((value) => checkJson(value).ok)

/** What a program may hand over by mistake: everything. */
const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withSparseArray: true,
  withTypedArray: true,
  stringUnit: 'binary',
})

/** Values that cannot travel, wherever they stand. */
const refusals: readonly [string, unknown][] = [
  ['NaN', NaN],
  ['an infinity', -Infinity],
  ['an integer beyond 2^53-1', 2 ** 53],
  ['a lone high surrogate', 'a\ud83d'],
  ['a lone low surrogate', '\ude00a'],
  ['a function', () => 1],
  ['a symbol', Symbol('s')],
  ['a bigint', 1n],
]

const copyOnly: readonly [string, unknown][] = [
  ['a date', new Date(0)],
  ['a map', new Map()],
  ['bytes', new Uint8Array(1)],
  [
    'an instance',
    new (class Thing {
      a = 1
    })(),
  ],
  ['a promise', Promise.resolve()],
]

/** The value that a JSON pointer names, read as RFC 6901 says. */
function at(value: unknown, pointer: string): unknown {
  return pointer
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce<unknown>((inner, token) => (inner as Record<string, unknown>)[token], value)
}

/** The copy of a value that can be copied. */
function copyOf(...given: Parameters<typeof copyJson>): unknown {
  const copied = copyJson(...given)
  if (!copied.ok) expect.fail(`${copied.path}: ${copied.reason}`)
  return copied.value
}

describe('json', () => {
  describe('copyJson', () => {
    it('copies what JSON can carry, and what it copies survives a round trip through text', () => {
      fc.assert(
        fc.property(json, (value) => {
          const copied = copyJson(value)
          expect(copied).to.deep.equal({ ok: true, value })
        }),
      )
    })

    it('answers for any value whatever: a copy that survives a round trip, or the path of a fault', () => {
      fc.assert(
        fc.property(anything, (value) => {
          const copied = copyJson(value)
          if (copied.ok) {
            expect(JSON.parse(JSON.stringify(copied.value))).to.deep.equal(copied.value)
            expect(checkJson(copied.value)).to.deep.equal(copied)
          } else {
            expect(copied.path).to.match(/^(\/([^~/]|~[01])*)*$/)
            expect(copied.reason).to.be.a('string').and.not.be.empty
          }
        }),
        { numRuns: 2000 },
      )
    })

    it('keeps no alias of what it was given', () => {
      const inner = [1]
      const given = { inner, again: inner }
      const copied = copyOf(given)
      inner.push(2)
      expect(copied).to.deep.equal({ inner: [1], again: [1] })
      expect(at(copied, '/inner')).to.not.equal(at(copied, '/again'))
    })

    for (const [what, leaf] of [...refusals, ...copyOnly]) {
      it(`refuses ${what} and names its path`, () => {
        expect(copyJson(leaf)).to.include({ ok: false, path: '' })
        expect(copyJson([0, { 'a/b': { 'c~d': leaf } }])).to.include({ ok: false, path: '/1/a~1b/c~0d' })
      })
    }

    it('names the path of a fault wherever it stands', () => {
      fc.assert(
        fc.property(fc.array(fc.oneof(fc.nat(3), fc.string({ minLength: 1 })), { maxLength: 8 }), (keys) => {
          fc.pre(keys.every((key) => typeof key === 'number' || !forbidden.includes(key)))
          const value = keys.reduceRight<unknown>(
            (inner, key) =>
              typeof key === 'number' ? [...Array.from({ length: key }, () => 0), inner] : { x: 1, [key]: inner },
            NaN,
          )
          const copied = copyJson(value)
          expect(copied.ok).to.equal(false)
          if (!copied.ok) expect(at(value, copied.path)).to.be.NaN
        }),
      )
    })

    it('takes a property that is undefined as absent, also one with a forbidden name', () => {
      expect(copyJson({ a: undefined, b: [{ c: undefined }] })).to.deep.equal({ ok: true, value: { b: [{}] } })
      expect(copyJson({ constructor: undefined })).to.deep.equal({ ok: true, value: {} })
    })

    it('refuses undefined where JSON would write null: at the root, in an array, in a hole', () => {
      expect(copyJson(undefined)).to.include({ ok: false, path: '' })
      expect(copyJson({ a: [1, undefined] })).to.include({ ok: false, path: '/a/1' })
      expect(copyJson([1, , 3])).to.include({ ok: false, path: '/1' })
    })

    it('writes -0 as 0', () => {
      const copied = copyOf([-0, { a: -0 }])
      expect(Object.is(at(copied, '/0'), 0)).to.equal(true)
      expect(Object.is(at(copied, '/1/a'), 0)).to.equal(true)
    })

    for (const key of forbidden) {
      it(`refuses the key ${key} and names its path`, () => {
        const value = { a: [JSON.parse(`{"${key}": {"polluted": true}}`) as unknown] }
        expect(copyJson(value)).to.include({ ok: false, path: `/a/0/${key}` })
      })
    }

    it('refuses a key with a lone surrogate', () => {
      expect(copyJson({ a: { '\ud800': 1 } })).to.include({ ok: false, path: '/a/\ud800' })
    })

    it(`takes ${MAX_DEPTH} levels and refuses one more, however many there are`, () => {
      expect(copyJson(nested(MAX_DEPTH)).ok).to.equal(true)
      for (const levels of [MAX_DEPTH + 1, 20_000]) {
        const refused = copyJson(nested(levels))
        expect(refused).to.include({ ok: false, reason: 'the value nests too deeply' })
        if (!refused.ok) expect(refused.path.split('/')).to.have.length(MAX_DEPTH + 1)
      }
    })

    it('refuses a value that contains itself, and takes one that stands twice', () => {
      const cyclic: Record<string, unknown> = { a: {} }
      cyclic.b = [cyclic]
      expect(copyJson(cyclic)).to.deep.equal({ ok: false, path: '/b/0', reason: 'the value contains itself' })
      const shared = { n: 1 }
      expect(copyJson([shared, shared])).to.deep.equal({ ok: true, value: [{ n: 1 }, { n: 1 }] })
    })

    it('takes plain objects of another realm and without a prototype', () => {
      expect(copyJson(runInNewContext('({a: [{}]})'))).to.deep.equal({ ok: true, value: { a: [{}] } })
      expect(copyJson(Object.assign(Object.create(null) as object, { a: 1 }))).to.deep.equal({
        ok: true,
        value: { a: 1 },
      })
    })

    it('refuses an instance that hides what made it', () => {
      const nameless = Object.create(Object.create({}) as object) as object
      expect(copyJson([nameless])).to.include({ ok: false, path: '/0' })
      const broken = Object.create(Object.create(Object.create(null) as object) as object) as object
      expect(copyJson([broken])).to.include({ ok: false, path: '/0' })
    })

    it('answers a throwing getter with its path', () => {
      const value = {
        a: {
          get b(): never {
            throw new Error('no')
          },
        },
      }
      expect(copyJson(value)).to.include({ ok: false, path: '/a/b' })
    })

    it('takes what adopt answers as it is', () => {
      const draft = new Date(0)
      const finished = { done: true }
      const copied = copyOf({ a: [draft] }, (value) => (value === draft ? finished : undefined))
      expect(at(copied, '/a/0')).to.equal(finished)
    })
  })

  describe('checkJson', () => {
    it('passes what JSON.parse returned, and the same value goes out', () => {
      fc.assert(
        fc.property(json, (value) => {
          const checked = checkJson(value)
          expect(checked.ok && checked.value).to.equal(value)
        }),
      )
    })

    for (const [what, leaf] of refusals) {
      it(`refuses ${what} and names its path`, () => {
        expect(checkJson([0, { 'a/b': { 'c~d': leaf } }])).to.include({ ok: false, path: '/1/a~1b/c~0d' })
      })
    }

    it('refuses undefined', () => {
      expect(checkJson(undefined)).to.include({ ok: false, path: '' })
      expect(checkJson([undefined])).to.include({ ok: false, path: '/0' })
    })

    for (const key of forbidden) {
      it(`refuses the key ${key} and names its path`, () => {
        expect(checkJson(JSON.parse(`[{"${key}": 1}]`))).to.include({ ok: false, path: `/0/${key}` })
      })
    }

    it(`takes ${MAX_DEPTH} levels and refuses more, also a million`, () => {
      expect(checkJson(nested(MAX_DEPTH)).ok).to.equal(true)
      expect(checkJson(nested(MAX_DEPTH + 1)).ok).to.equal(false)
      const million = JSON.parse('['.repeat(1_000_000) + ']'.repeat(1_000_000)) as unknown
      expect(checkJson(million)).to.include({ ok: false, path: '/0'.repeat(MAX_DEPTH) })
    })

    it('takes fewer levels where it is told to', () => {
      expect(checkJson([[1]], 2).ok).to.equal(true)
      expect(checkJson([[1]], 1)).to.include({ ok: false, path: '/0' })
    })
  })

  describe('equalJson', () => {
    const shuffled = (value: JsonValue): JsonValue => {
      if (Array.isArray(value)) return value.map(shuffled)
      if (typeof value !== 'object' || value === null) return value
      return Object.fromEntries(
        Object.entries(value as Record<string, JsonValue>)
          .reverse()
          .map(([key, inner]) => [key, shuffled(inner)]),
      )
    }

    it('does not mind the order of keys', () => {
      fc.assert(
        fc.property(json, (value) => {
          expect(equalJson(value as JsonValue, shuffled(value as JsonValue))).to.equal(true)
        }),
      )
    })

    it('agrees with a deep comparison', () => {
      const few = fc.letrec<{ value: JsonValue }>((tie) => ({
        value: fc.oneof(
          { maxDepth: 3 },
          fc.constantFrom<JsonValue>(0, 1, '', 'a', true, false, null),
          fc.array(tie('value'), { maxLength: 2 }),
          fc.dictionary(fc.constantFrom('a', 'b', '0', 'length'), tie('value'), { maxKeys: 2, noNullPrototype: true }),
        ),
      })).value
      const canonical = (value: JsonValue): string =>
        JSON.stringify(value, (_key, inner: unknown) =>
          typeof inner === 'object' && inner !== null && !Array.isArray(inner)
            ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
            : inner,
        )
      fc.assert(
        fc.property(few, few, (a, b) => {
          expect(equalJson(a, b)).to.equal(canonical(a) === canonical(b))
        }),
        { numRuns: 2000 },
      )
    })

    it('tells absent from null, and an own key from an inherited one', () => {
      expect(equalJson(undefined, undefined)).to.equal(true)
      expect(equalJson(undefined, null)).to.equal(false)
      expect(equalJson({ toString: 1 }, { a: 1 })).to.equal(false)
      expect(equalJson([], {})).to.equal(false)
      expect(equalJson({}, [])).to.equal(false)
    })
  })

  it('escapes a token so that it is read back', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('~', '/', '0', '1', 'a') }), (key) => {
        expect(at({ [key]: 'found' }, `/${escapeToken(key)}`)).to.equal('found')
      }),
    )
  })
})
