/** docs/PROTOCOL.md is normative, so it is held against the code: its examples, its commands, its limits, its codes. */
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import * as v from 'valibot'
import { inflate } from '#deflate'
import { FrameReader } from '#src/link/frames.js'
import { ERROR_CODES } from '#src/protocol/codes.js'
import type { Parsed } from '#src/protocol/envelope.js'
import {
  acknowledgementVocabulary,
  clientVocabulary,
  parseAcknowledgement,
  parseClientMessage,
  parseServerMessage,
  resultOf,
  serverVocabulary,
  SOCKET_PATH,
} from '#src/protocol/naming.js'
import { downVocabulary, parseDown, parseUp, upVocabulary } from '#src/protocol/replication.js'
import { PROTOCOL_VERSION } from '#src/protocol/version.js'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const document = read('docs/PROTOCOL.md')

interface Vector {
  readonly title: string
  readonly [key: string]: unknown
}
interface Example {
  readonly file: string
  readonly title: string
  readonly text: string
}

/** A block of JSON, and the line above it, which names the vector that it is. */
const EXAMPLE = /^\[([^\]]+)\]\(\.\.\/test\/vectors\/([^)]+)\), "(.+)":\n\n```json\n([\s\S]*?)\n```$/gm

const examples: Example[] = [...document.matchAll(EXAMPLE)].map(([, shown = '', file = '', title = '', text = '']) => {
  expect(shown, 'the link shows the file it leads to').to.equal(file)
  return { file, title, text }
})

const vectorOf = ({ file, title }: Example): Vector => {
  const { valid } = JSON.parse(read(`test/vectors/${file}`)) as { valid: Vector[] }
  const found = valid.find((vector) => vector.title === title)
  if (found === undefined) expect.fail(`test/vectors/${file} has no valid example "${title}"`)
  return found
}

const parsers: Readonly<Record<string, (value: unknown) => Parsed<unknown>>> = {
  'envelope.json': parseUp,
  'naming/client/': parseClientMessage,
  'naming/server/': parseServerMessage,
  'naming/acknowledgement/': parseAcknowledgement,
  'replication/up/': parseUp,
  'replication/down/': parseDown,
}

/** Whether ours takes the example, by the place of its file. */
async function isTaken({ file, text }: Example): Promise<boolean> {
  const value: unknown = JSON.parse(text)
  const command = /([^/]+)\.json$/.exec(file)?.[1] ?? ''
  if (file === 'frames.json') {
    const reader = new FrameReader(1_000, inflate)
    const { frames } = value as { frames: (string | { hex: string })[] }
    const read = frames.map((frame) =>
      reader.read(typeof frame === 'string' ? frame : new Uint8Array(Buffer.from(frame.hex, 'hex'))),
    )
    return (await Promise.all(read)).every(({ ok }) => ok)
  }
  if (file.startsWith('naming/result/')) {
    const schema = Object.entries(resultOf).find(([name]) => name === command)?.[1]
    return schema !== undefined && v.safeParse(schema, value).success
  }
  return Object.entries(parsers).find(([place]) => file.startsWith(place))?.[1](value).ok === true
}

/** The rows below a heading, by the first cell's backquoted name; other cells as text. */
function rowsUnder(heading: string): { readonly name: string; readonly cells: readonly string[] }[] {
  const section = document.split(/^## /m).find((text) => text.startsWith(`${heading}\n`))
  if (section === undefined) expect.fail(`docs/PROTOCOL.md has no section "${heading}"`)
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [first = '', ...cells] = line.split('|').slice(1, -1)
      return { name: first.trim().replaceAll('`', ''), cells: cells.map((cell) => cell.trim()) }
    })
}

/** The number a source file gives a name: digits, products and powers only. */
function constantIn(file: string, name: string): number | undefined {
  const found = new RegExp(`(?:const ${name} =|^ *${name}:) ([0-9_* ]+)[,;]?$`, 'm').exec(read(file))?.[1]
  return found?.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '').trim()), 1)
}

describe('docs/PROTOCOL.md', () => {
  it('names the vector of every block of JSON', () => {
    expect(examples.length).to.equal(document.split('```json\n').length - 1)
    expect(document.match(/```(?!json\n|\n)/g), 'blocks of another language').to.equal(null)
  })

  for (const example of examples) {
    it(`has ${example.file} "${example.title}" as it stands there, and ours takes it`, async () => {
      const { message, result, frames, values } = vectorOf(example)
      expect(JSON.parse(example.text)).to.deep.equal(message ?? result ?? { frames, values })
      expect(await isTaken(example)).to.equal(true)
    })
  }

  const directories: readonly [string, object][] = [
    ['naming/client', clientVocabulary],
    ['naming/server', serverVocabulary],
    ['naming/acknowledgement', acknowledgementVocabulary],
    ['replication/up', upVocabulary],
    ['replication/down', downVocabulary],
  ]
  /** What goes both ways alike is shown once. */
  const mirrored = ['replication/down/ping.json', 'replication/down/pong.json', 'replication/down/goodbye.json']

  for (const [directory, vocabulary] of directories) {
    it(`shows every command of ${directory}`, () => {
      const shown = new Set([...examples.map(({ file }) => file), ...mirrored])
      const missing = Object.keys(vocabulary).filter((command) => !shown.has(`${directory}/${command}.json`))
      expect(missing).to.deep.equal([])
    })
  }

  it('has a heading for every command', () => {
    const headings = document.split('\n').filter((line) => line.startsWith('#'))
    const commands = [clientVocabulary, serverVocabulary, upVocabulary, downVocabulary].flatMap(Object.keys)
    const missing = commands.filter((command) => !headings.some((heading) => heading.includes(`\`${command}\``)))
    expect(missing).to.deep.equal([])
  })

  it('has every code once, and no other', () => {
    const rows = rowsUnder('Codes')
    expect(rows.map(({ name }) => name)).to.have.members([...ERROR_CODES])
    for (const { name, cells } of rows) {
      expect(cells, name).to.have.length(2)
      for (const cell of cells) expect(cell, name).to.not.equal('')
    }
  })

  for (const { name, cells } of rowsUnder('Limits')) {
    const [value = '', unit, , file = ''] = cells
    it(`has ${name} of ${file.replaceAll('`', '')} as it is`, () => {
      expect(Number(value.replaceAll(',', ''))).to.equal(constantIn(file.replaceAll('`', ''), name))
      if (name.endsWith('_MS')) expect(unit).to.equal('ms')
      if (name.endsWith('_BYTES')) expect(unit).to.equal('bytes')
    })
  }

  it('has the version and the path that are served', () => {
    expect(document).to.match(new RegExp(`^# The protocol, version ${PROTOCOL_VERSION}$`, 'm'))
    expect(document).to.include(`\`${SOCKET_PATH}\``)
  })
})
