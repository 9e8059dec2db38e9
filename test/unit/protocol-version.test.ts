/**
 * A changed schema needs a new PROTOCOL_VERSION: the schemas' hashes are recorded in test/vectors/schema-hashes.json.
 * RECORD_SCHEMAS=1 writes those of the version as it is now.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'chai'
import * as v from 'valibot'
import { MAX_DEPTH } from '#src/protocol/json.js'
import { acknowledgementVocabulary, clientVocabulary, resultOf, serverVocabulary } from '#src/protocol/naming.js'
import { downVocabulary, upVocabulary } from '#src/protocol/replication.js'
import { HISTORY, OLDEST_VERSION, PROTOCOL_VERSION } from '#src/protocol/version.js'

const wire = {
  clientVocabulary,
  serverVocabulary,
  acknowledgementVocabulary,
  resultOf,
  upVocabulary,
  downVocabulary,
  json: { MAX_DEPTH },
}
type Hashes = Record<string, string>

const file = new URL('../../test/vectors/schema-hashes.json', import.meta.url)
const readRecord = () => JSON.parse(readFileSync(file, 'utf8')) as Record<string, Hashes>

/**
 * A schema as text: what it accepts, without what runs it. A function cannot be compared, so a custom check counts by
 * its message: give it a new one when its meaning changes.
 */
function describeSchema(value: unknown): unknown {
  if (value instanceof RegExp) return String(value)
  if (typeof value === 'function') return 'function'
  if (Array.isArray(value)) return value.map(describeSchema)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key]) => key !== 'reference' && !key.startsWith('~'))
  const sorted = entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(sorted.map(([key, inner]) => [key, describeSchema(inner)]))
}

const hash = (schema: unknown) =>
  createHash('sha256')
    .update(JSON.stringify(describeSchema(schema)))
    .digest('hex')

describe('the version of the protocol', () => {
  const now: Hashes = Object.fromEntries(Object.entries(wire).map(([name, schemas]) => [name, hash(schemas)]))

  before(() => {
    if (process.env.RECORD_SCHEMAS !== '1') return
    writeFileSync(file, JSON.stringify({ ...readRecord(), [PROTOCOL_VERSION]: now }, null, 2) + '\n')
  })

  for (const name of Object.keys(wire)) {
    it(`is a new one when ${name} changes`, () => {
      expect(readRecord()[PROTOCOL_VERSION]?.[name]).to.equal(
        now[name],
        `The schemas of ${name} are not those recorded for version ${PROTOCOL_VERSION}. Raise PROTOCOL_VERSION in ` +
          'src/protocol/version.ts, give it a line in HISTORY, and run ' +
          '`RECORD_SCHEMAS=1 npm test -- test/unit/protocol-version.test.ts`. (A version that was never released may be recorded again.)',
      )
    })
  }

  it('has a line of history for each step, and serves none that it does not know', () => {
    const versions = Array.from({ length: PROTOCOL_VERSION }, (_, index) => String(index + 1))
    expect(Object.keys(HISTORY)).to.have.members(versions)
    expect(OLDEST_VERSION).to.be.within(1, PROTOCOL_VERSION)
  })

  it('sees every change that an end could notice', () => {
    const name = v.pipe(v.string(), v.regex(/^a$/), v.maxLength(3))
    const before = v.object({ name, kind: v.picklist(['a', 'b']) })
    const changed: Record<string, unknown> = {
      'a limit': v.object({ ...before.entries, name: v.pipe(v.string(), v.regex(/^a$/), v.maxLength(4)) }),
      'a pattern': v.object({ ...before.entries, name: v.pipe(v.string(), v.regex(/^b$/), v.maxLength(3)) }),
      'an optional field': v.object({ ...before.entries, name: v.exactOptional(name) }),
      'another choice': v.object({ name, kind: v.picklist(['a', 'b', 'c']) }),
      'a new field': v.object({ ...before.entries, more: v.number() }),
      'a field less': v.object({ name }),
      'a default': v.object({ ...before.entries, name: v.nullish(name, 'a') }),
      'the message of a check': v.object({
        ...before.entries,
        name: v.pipe(
          name,
          v.check(() => true, 'a name'),
        ),
      }),
    }
    const hashes = Object.values(changed).map(hash)
    expect(new Set([hash(before), ...hashes]).size).to.equal(hashes.length + 1)
    expect(hash(v.object({ kind: v.picklist(['a', 'b']), name })), 'the order of fields').to.equal(hash(before))
  })
})
