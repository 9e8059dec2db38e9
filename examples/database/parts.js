// @ts-check
/**
 * A program that uses the master's database, from wherever it is. `--help` says how.
 */
import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'
import { Slave } from 'named-master/slave'

/** @typedef {{ id: string, revision: number, name: string, place: string, amount: number, note: string }} Part */
/** @typedef {{ id: string, revision: number, document?: Part }} Change */
/**
 * @typedef {object} Database
 * @property {(id: string) => Promise<Part | undefined>} get
 * @property {(query: import('./documents.js').Query) => Promise<Part[]>} list
 * @property {(part: Partial<Part>) => Promise<Part>} put
 * @property {(id: string, revision: number) => Promise<void>} del
 */

/** A person waits at most this long for a master that is not there. */
const CONNECT_MILLISECONDS = 15_000

const USAGE = `node parts.js list [--like TEXT] [--place PLACE] [--below AMOUNT] [--sort FIELD] [--desc] [--limit N]
node parts.js add NAME [--place PLACE] [--amount N] [--note TEXT]
node parts.js set ID FIELD=VALUE... [--revision N]
node parts.js remove ID [--revision N]
node parts.js watch
From the environment: NAME_SERVER (http://localhost:8002), NAME (parts).`

/** What a person may write in. */
const FIELDS = ['name', 'place', 'amount', 'note']

const { values, positionals } = readArguments()
const [command = 'list', ...rest] = positionals

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        like: { type: 'string' },
        place: { type: 'string' },
        below: { type: 'string' },
        sort: { type: 'string', default: 'name' },
        desc: { type: 'boolean', default: false },
        limit: { type: 'string' },
        amount: { type: 'string', default: '1' },
        note: { type: 'string' },
        revision: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`)
    process.exit(2)
  }
}

/** @param {string} what @param {string} text */
function numberOf(what, text) {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number)) throw new Error(`${what}: "${text}" is no number.`)
  return number
}

const line = (/** @type {Part} */ { id, revision, name, place, amount, note }) =>
  [id, `r${revision}`, `${amount} x`, name, place === '' ? undefined : `at ${place}`, note].filter(Boolean).join('  ')

/** @type {Record<string, (db: Database, slave: Slave) => Promise<void>>} */
const COMMANDS = {
  async list(db) {
    const { like, place, below, sort, desc, limit } = values
    const parts = await db.list({
      filters: {
        ...(like === undefined ? {} : { name: ['like', `%${like}%`] }),
        ...(place === undefined ? {} : { place }),
        ...(below === undefined ? {} : { amount: ['<', numberOf('--below', below)] }),
      },
      orderBy: sort,
      order: desc ? 'desc' : 'asc',
      ...(limit === undefined ? {} : { limit: numberOf('--limit', limit) }),
    })
    for (const part of parts) console.log(line(part))
  },

  async add(db) {
    const { place = '', amount, note = '' } = values
    // The id is made here, so that the same call may be made again when its answer was lost: it adds no second part.
    const part = { id: randomUUID(), revision: 0, name: rest.join(' '), place, note }
    console.log(line(await db.put({ ...part, amount: numberOf('--amount', amount) })))
  },

  async set(db) {
    const [id = '', ...changes] = rest
    if (changes.length === 0) throw new Error(`set ID FIELD=VALUE...: the fields are ${FIELDS.join(', ')}.`)
    const part = await demand(db, id)
    for (const change of changes) {
      const [field = '', value] = change.split(/=(.*)/s)
      if (value === undefined || !FIELDS.includes(field))
        throw new Error(`"${change}" is no FIELD=VALUE: the fields are ${FIELDS.join(', ')}.`)
      Object.assign(part, { [field]: field === 'amount' ? numberOf('amount', value) : value })
    }
    // The revision that was looked at: if somebody writes in between, this is refused and nothing of theirs is lost.
    console.log(line(await db.put({ ...part, revision: revisionOf(part) })))
  },

  async remove(db) {
    const part = await demand(db, rest[0] ?? '')
    await db.del(part.id, revisionOf(part))
    console.log(`removed ${part.id}`)
  },

  watch: (_db, slave) =>
    new Promise((resolve) => {
      slave.on('db.changed', (_state, /** @type {{ changes: Change[] }} */ { changes }, { phase, origin }) => {
        // Only the master says so: any slave may send a volatile event of this name.
        if (phase === 'volatile' || origin !== undefined) return
        for (const { id, document } of changes) console.log(document === undefined ? `removed ${id}` : line(document))
      })
      slave.events.on('status', (status) => console.log(`(${status})`))
      // A program with a copy lists anew: what was written last may not have been told,
      slave.on('db.opened', () => console.log('(the master was started anew: list again)'))
      // and to one that was far behind the events in between are not told.
      slave.events.on('reset', () => console.log('(much has changed: list again)'))
      console.log('(watching; Ctrl+C ends it)')
      process.once('SIGINT', () => resolve()).once('SIGTERM', () => resolve())
    }),
}

/** @param {Part} part */
const revisionOf = (part) => (values.revision === undefined ? part.revision : numberOf('--revision', values.revision))

/** @param {Database} db @param {string} id */
async function demand(db, id) {
  const part = await db.get(id)
  if (part === undefined) throw new Error(`There is no part "${id}".`)
  return part
}

/** Ends explicitly, because a native WebRTC library may crash when it is left to a natural end. */
async function main() {
  if (values.help) return console.log(USAGE)
  const run = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
  if (run === undefined) throw new Error(`"${command}" is none of: ${Object.keys(COMMANDS).join(', ')}.`)
  const slave = new Slave(process.env.NAME_SERVER ?? 'http://localhost:8002')
  if (!(await slave.connect(process.env.NAME ?? 'parts', { timeout: CONNECT_MILLISECONDS }))) throw slave.lastError
  try {
    await run(slave.proxy('db'), slave)
  } finally {
    await slave.disconnect()
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.code === undefined ? error.message : `${error.code}: ${error.message}`)
    process.exit(1)
  },
)
