import { expect } from 'chai'
import fc from 'fast-check'
import * as v from 'valibot'
import { Json, Timestamp, Uuid, envelope, newUuid, parser } from '#src/protocol/envelope.js'
import { parseAcknowledgement, parseClientMessage, parseServerMessage } from '#src/protocol/naming.js'
import { clientVocabulary, serverVocabulary } from '#src/protocol/naming.js'
import { downVocabulary, parseDown, parseUp, upVocabulary } from '#src/protocol/replication.js'

const parsers = { parseClientMessage, parseServerMessage, parseAcknowledgement, parseUp, parseDown }

const commands = [clientVocabulary, serverVocabulary, upVocabulary, downVocabulary].flatMap((each) => Object.keys(each))

/** Nearly a message: right as far as the head goes, anything behind it. */
const nearly = fc.record(
  {
    command: fc.oneof(fc.constantFrom(...commands), fc.string()),
    payload: fc.oneof(
      fc.jsonValue(),
      fc.dictionary(
        fc.constantFrom(
          'name',
          'key',
          'offer',
          'seq',
          'prev',
          'base',
          'patch',
          'event',
          'payload',
          'calls',
          '__proto__',
        ),
        fc.jsonValue(),
      ),
    ),
    uuid: fc.oneof(fc.uuid({ version: 7 }), fc.string()),
    timestamp: fc.oneof(fc.nat(), fc.jsonValue()),
  },
  { requiredKeys: [] },
)

describe('envelope', () => {
  for (const [name, parse] of Object.entries(parsers)) {
    it(`${name} answers for any value and never throws`, () => {
      const value = fc.oneof(fc.jsonValue(), nearly, fc.anything({ withBigInt: true, withNullPrototype: true }))
      fc.assert(
        fc.property(value, (given) => {
          const parsed = parse(given)
          if (parsed.ok) expect(commands.concat('result', 'error')).to.include(parsed.value.command)
          else expect(parsed).to.include({ code: 'invalid-message' }).and.to.have.property('path').that.is.a('string')
        }),
        { numRuns: 2000 },
      )
    })
  }

  it('makes uuids of version 7, with the time of now, and none twice', () => {
    const before = Date.now()
    const made = Array.from({ length: 2000 }, newUuid)
    const after = Date.now()
    expect(new Set(made.map((uuid) => uuid.slice(-12))).size, 'the random part').equal(2000)
    for (const uuid of made) {
      expect(v.is(Uuid, uuid)).equal(true)
      expect(parseInt(uuid.slice(0, 13).replace('-', ''), 16)).within(before, after)
    }
  })

  it('parses what it made, and makes what it parses', () => {
    const parse = parser({ say: v.object({ text: v.string() }) })
    const before = Date.now()
    const made = envelope('say', { text: 'hello' })
    expect(parse(JSON.parse(JSON.stringify(made)))).to.deep.equal({ ok: true, value: made })
    expect(made.timestamp).to.be.within(before, Date.now())
    expect(v.is(Uuid, made.uuid)).to.equal(true)
    expect(v.is(Timestamp, made.timestamp)).to.equal(true)
  })

  it('keeps the uuid and the time of what is answered or sent again', () => {
    const first = envelope('say', 1)
    expect(envelope('say', 1, first.uuid, first.timestamp)).to.deep.equal(first)
    expect(envelope('say', 1).uuid).to.not.equal(first.uuid)
  })

  it('drops the unknown fields of the head and of a payload', () => {
    const parse = parser({ say: v.object({ text: v.string() }) })
    const made = envelope('say', { text: 'hello' })
    const more = { ...made, payload: { ...made.payload, more: 1 }, more: 1 }
    expect(parse(more)).to.deep.equal({ ok: true, value: made })
  })

  it('knows the commands of its own vocabulary only, and no property of an object', () => {
    const parse = parser({ say: v.unknown() })
    for (const command of ['shout', 'constructor', '__proto__', 'hasOwnProperty', '']) {
      expect(parse(envelope(command, 1))).to.include({ ok: false, code: 'invalid-message', path: '/command' })
    }
  })

  it('shortens an unknown command in what it says about it', () => {
    const answer = parser({})(envelope('x'.repeat(100_000), 1))
    if (answer.ok) expect.fail('it was taken')
    expect(answer.reason.length).to.be.lessThan(100)
  })

  it('names the path into a payload', () => {
    const parse = parser({ say: v.object({ list: v.array(v.object({ n: v.number() })) }) })
    expect(parse(envelope('say', { list: [{ n: 1 }, { n: '2' }] }))).to.include({ path: '/payload/list/1/n' })
  })

  it('takes JSON within the limits only', () => {
    expect(v.is(Json, { a: [1, null, 'text', { b: true }] })).to.equal(true)
    for (const value of [undefined, NaN, 2 ** 53, '\ud800', JSON.parse('{"__proto__": 1}')]) {
      expect(v.is(Json, value)).to.equal(false)
    }
  })
})
