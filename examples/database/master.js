// @ts-check
/**
 * The program that has the database: it hosts it under a name, and slaves use it method by method.
 *
 * Runs wherever its name server can be reached; nobody has to reach it. From the environment: NAME_SERVER
 * (http://localhost:8002), NAME (parts), DATA (./data/parts): a folder for the documents, for the store and for the key of the name.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { Master, createStore } from 'named-master'
import { Documents } from './documents.js'
import { checkPart } from './part.js'

const url = process.env.NAME_SERVER ?? 'http://localhost:8002'
const name = process.env.NAME ?? 'parts'
const data = process.env.DATA ?? './data/parts'

/** @param {number} code @param {string} [sentence] @returns {never} */
function end(code, sentence) {
  if (sentence !== undefined) console.error(sentence)
  // Explicit, because a native WebRTC library may crash when it is left to a natural end.
  process.exit(code)
}

await mkdir(data, { recursive: true })
/** @type {Level<string, import('./documents.js').Document>} */
const level = new Level(join(data, 'documents'), { valueEncoding: 'json' })
await level.open().catch((error) => {
  const held = error.cause?.code === 'LEVEL_LOCKED'
  end(1, held ? `Another process has the database in ${data}.` : `The database cannot be opened: ${error.message}`)
})

const documents = new Documents(level, {
  check: checkPart,
  told: (changes, more) => store.emit('db.changed', { changes, more }),
})

// The store is how slaves hear of changes. It holds next to nothing itself: the documents are in Level.
const store = createStore({ parts: 0 })
store.on('db.changed', (state, /** @type {{ more: number }} */ { more }, { origin }) => {
  if (origin !== undefined) throw new Error('Only the master says what has changed.')
  state.parts += more
})
store.on('db.opened', (state, /** @type {{ parts: number }} */ { parts }, { origin }) => {
  if (origin !== undefined) throw new Error('Only the master says what has changed.')
  state.parts = parts
})

const master = new Master(url, { store, data: join(data, 'store') })
// Each method by its name, and no other. Whoever knows the name of this master may use them: rights are yours to add.
master.exposeAll('db', documents, ['get', 'list', 'put', 'del', 'batch'])

let stopping = false
/** @param {number} code @param {string} [sentence] */
async function stop(code, sentence) {
  if (stopping) return
  stopping = true
  await master.close()
  await level.close()
  end(code, sentence)
}
process.once('SIGINT', () => void stop(0))
process.once('SIGTERM', () => void stop(0))
master.events.on('evicted', () => void stop(1, `Another process has taken the name "${name}" with our key: stopping.`))

try {
  await master.open()
  // Killed between a write and its event, the master before told nobody of that write.
  store.emit('db.opened', { parts: await documents.count() })
  const answer = await master.startServer(name)
  if (answer === 'exists') {
    await stop(1, `The name "${name}" is somebody else's on ${url}: choose another one by NAME=... or bring its key.`)
  }
  if (!stopping) console.log(`The master of "${name}" has ${store.getState().parts} parts in ${data}`)
} catch (error) {
  await stop(1, `The master could not be started: ${error instanceof Error ? error.message : String(error)}`)
}
