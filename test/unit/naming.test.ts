import { expect } from 'chai'
import fc from 'fast-check'
import * as v from 'valibot'
import { Name, Secret, normalizeName } from '#src/protocol/naming.js'

const inner = 'abcdefghijklmnopqrstuvwxyz0123456789._-'
const outer = inner.slice(0, -3)
const letter = (from: string) => fc.nat(from.length - 1).map((index) => from.charAt(index))
const name = fc
  .tuple(letter(outer), fc.string({ unit: letter(inner), minLength: 1, maxLength: 61 }), letter(outer))
  .map((parts) => parts.join(''))

describe('names', () => {
  it('are 3 to 63 of a-z 0-9 . _ -, and begin and end with a letter or a digit', () => {
    fc.assert(
      fc.property(name, (text) => {
        expect(v.is(Name, text)).to.equal(true)
      }),
    )
  })

  it('are compared in lower case', () => {
    fc.assert(
      fc.property(name, (text) => {
        expect(normalizeName(text.toUpperCase())).to.equal(text)
        expect(v.is(Name, text.toUpperCase())).to.equal(text === text.toUpperCase())
      }),
    )
  })

  const none = ['', 'a', 'ab', '.ab', 'ab-', '_ab', 'a b', 'a/b', 'äbc', 'a\u0000b', 'abc\n', ' abc', 'a'.repeat(64)]
  // The Kelvin sign, which becomes a k in lower case, a dotted I, full-width letters, a Cyrillic e, a space of no width.
  const look = ['\u212Aelvin', 'gara\u0130e', 'ｇａｒａｇｅ', 'garag\u0435', 'gar\u200Bage']
  for (const text of [...none, ...look]) {
    it(`are not ${JSON.stringify(text).slice(0, 20)}`, () => {
      expect(normalizeName(text)).to.equal(undefined)
    })
  }

  it('are no other value', () => {
    for (const value of [undefined, null, 7, ['abc'], { toLowerCase: () => 'abc' }]) {
      expect(normalizeName(value)).to.equal(undefined)
    }
  })
})

describe('secrets', () => {
  it('are 256 bits in base64url without padding', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        expect(v.is(Secret, Buffer.from(bytes).toString('base64url'))).to.equal(true)
      }),
    )
    for (const bytes of [31, 33]) expect(v.is(Secret, Buffer.alloc(bytes).toString('base64url'))).to.equal(false)
    expect(v.is(Secret, 'k'.repeat(42) + '=')).to.equal(false)
    expect(v.is(Secret, 'k'.repeat(43) + '\n')).to.equal(false)
  })
})
