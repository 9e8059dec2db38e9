/** Every file of test/vectors against the parsers: see test/vectors/README.md for their form. */
import { readFileSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { expect } from 'chai'
import * as v from 'valibot'
import { inflate } from '#deflate'
import { FrameReader, type Frame } from '#src/link/frames.js'
import type { Parsed } from '#src/protocol/envelope.js'
import {
  acknowledgementVocabulary,
  clientVocabulary,
  parseAcknowledgement,
  parseClientMessage,
  parseServerMessage,
  resultOf,
  serverVocabulary,
} from '#src/protocol/naming.js'
import { NamedMasterError } from '#src/errors.js'
import type { JsonValue } from '#src/protocol/json.js'
import { downVocabulary, parseDown, parseUp, upVocabulary, type Patch } from '#src/protocol/replication.js'
import { Assembly, type Piece } from '#src/store/pieces.js'
import { applyIf, createTree } from '#src/store/tree.js'

interface Vector {
  readonly title: string
  readonly message?: unknown
  readonly result?: unknown
  readonly parsed?: unknown
  readonly code?: string
  readonly path?: string
}
interface Vectors {
  readonly valid: readonly Vector[]
  readonly invalid: readonly Vector[]
}

const folder = new URL('../../test/vectors/', import.meta.url)
const read = (file: string) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vectors
const commandsIn = (path: string) => readdirSync(new URL(path, folder)).map((file) => basename(file, '.json'))

const directions: readonly [string, object, (value: unknown) => Parsed<unknown>][] = [
  ['naming/client', clientVocabulary, parseClientMessage],
  ['naming/server', serverVocabulary, parseServerMessage],
  ['naming/acknowledgement', acknowledgementVocabulary, parseAcknowledgement],
  ['replication/up', upVocabulary, parseUp],
  ['replication/down', downVocabulary, parseDown],
]

describe('vectors', () => {
  for (const [path, vocabulary, parse] of directions) {
    describe(path, () => {
      it('has a file for each command', () => {
        expect(commandsIn(path)).to.have.members(Object.keys(vocabulary))
      })
      for (const command of Object.keys(vocabulary)) messages(command, read(`${path}/${command}.json`), parse)
    })
  }

  describe('envelope', () => {
    for (const [path, , parse] of directions.filter(([, vocabulary]) => 'ping' in vocabulary)) {
      messages(path, read('envelope.json'), parse)
    }
  })

  describe('naming/result', () => {
    it('has a file for each request', () => {
      expect(commandsIn('naming/result')).to.have.members(Object.keys(resultOf))
    })
    for (const [command, schema] of Object.entries(resultOf))
      results(command, read(`naming/result/${command}.json`), schema)
  })
})

type WrittenFrame = string | { readonly hex: string }
interface FrameVectors {
  readonly valid: readonly { readonly title: string; readonly frames: WrittenFrame[]; readonly values: unknown[] }[]
  readonly invalid: readonly { readonly title: string; readonly frames: WrittenFrame[]; readonly code: string }[]
}

describe('vectors: frames', () => {
  const { valid, invalid } = JSON.parse(readFileSync(new URL('frames.json', folder), 'utf8')) as FrameVectors
  const frameOf = (frame: WrittenFrame): Frame =>
    typeof frame === 'string' ? frame : new Uint8Array(Buffer.from(frame.hex, 'hex'))
  const readAll = (frames: readonly WrittenFrame[]) => {
    const reader = new FrameReader(1_000, inflate)
    return Promise.all(frames.map((frame) => reader.read(frameOf(frame))))
  }

  for (const { title, frames, values } of valid) {
    it(`takes ${title}`, async () => {
      expect((await readAll(frames)).flatMap((read) => (read.ok ? read.values : [read]))).to.deep.equal(values)
    })
  }
  for (const { title, frames, code } of invalid) {
    it(`refuses ${title}`, async () => {
      expect((await readAll(frames)).at(-1)).to.include({ ok: false, code })
    })
  }
})

interface PatchVector {
  readonly title: string
  readonly state?: JsonValue
  readonly patch: Patch
  readonly result?: JsonValue
}

describe('vectors: patches', () => {
  const { valid, invalid } = JSON.parse(readFileSync(new URL('patches.json', folder), 'utf8')) as Record<
    'valid' | 'invalid',
    readonly PatchVector[]
  >
  const applied = ({ state, patch }: PatchVector) => {
    const tree = createTree(state)
    const change = applyIf(tree, patch, () => true)
    return { fits: typeof change === 'object', value: tree.value }
  }

  for (const vector of valid) {
    it(`applies ${vector.title}`, () => {
      expect(applied(vector)).to.deep.equal({ fits: true, value: vector.result })
    })
  }
  for (const vector of invalid) {
    it(`refuses ${vector.title}`, () => {
      expect(applied(vector)).to.deep.equal({ fits: false, value: vector.state })
    })
  }
})

interface PartsVector {
  readonly title: string
  readonly skeleton: JsonValue
  readonly parts: readonly Piece[]
  readonly state?: JsonValue
}

describe('vectors: parts', () => {
  const { valid, invalid } = JSON.parse(readFileSync(new URL('parts.json', folder), 'utf8')) as Record<
    'valid' | 'invalid',
    readonly PartsVector[]
  >

  for (const { title, skeleton, parts, state } of valid) {
    it(`takes ${title}`, () => {
      const assembly = new Assembly(skeleton)
      for (const part of parts) assembly.add(part)
      expect(assembly.value).to.deep.equal(state)
    })
  }
  for (const { title, skeleton, parts } of invalid) {
    it(`refuses ${title}`, () => {
      const assembly = new Assembly(skeleton)
      for (const part of parts.slice(0, -1)) assembly.add(part)
      expect(() => assembly.add(parts.at(-1) as Piece))
        .to.throw(NamedMasterError)
        .with.property('code', 'invalid-message')
    })
  }
})

function messages(name: string, vectors: Vectors, parse: (value: unknown) => Parsed<unknown>) {
  for (const { title, message, parsed = message } of vectors.valid) {
    it(`${name}: takes ${title}`, () => {
      expect(parse(message)).to.deep.equal({ ok: true, value: parsed })
    })
  }
  for (const { title, message, code, path } of vectors.invalid) {
    it(`${name}: refuses ${title}`, () => {
      const answer = parse(message)
      expect(answer).to.include({ ok: false, code, path })
      expect(answer).to.have.property('reason').that.is.a('string').and.is.not.empty
    })
  }
}

function results(name: string, vectors: Vectors, schema: v.GenericSchema) {
  for (const { title, result, parsed = result } of vectors.valid) {
    it(`${name}: takes ${title}`, () => {
      expect(v.parse(schema, result)).to.deep.equal(parsed)
    })
  }
  for (const { title, result, path } of vectors.invalid) {
    it(`${name}: refuses ${title}`, () => {
      const answer = v.safeParse(schema, result, { abortEarly: true })
      expect(answer.issues?.map((issue) => v.getDotPath(issue) ?? '')).to.deep.equal([
        path?.slice(1).replaceAll('/', '.'),
      ])
    })
  }
}
