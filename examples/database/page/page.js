// @ts-check
/**
 * The page: a slave of the name "parts", which uses its master's database by `proxy('db')`.
 *
 * It keeps no copy of the database. It asks for what it shows, and asks again when the master says that something was
 * changed, by whomever: so a change of this page and one of a program far away come back on the same way.
 */
import { byId, say } from './element.js'
import { Editor } from './editor.js'
import { showLink } from './link.js'
import { showParts } from './list.js'

/**
 * @typedef {{ id: string, revision: number, name: string, place: string, amount: number, note: string }} Part
 * @typedef {{ id: string, revision: number, document?: Part }} Change
 */
/**
 * The master's methods, as examples/database/documents.js has them.
 * @typedef {object} Database
 * @property {(id: string) => Promise<Part | undefined>} get
 * @property {(query: Record<string, unknown>) => Promise<Part[]>} list
 * @property {(part: Part) => Promise<Part>} put
 * @property {(id: string, revision: number) => Promise<void>} del
 */

/** More would be slow to look through; the search finds the others. */
const MAX_SHOWN = 200

/** @type {typeof import('named-master')} */
const { Slave } = Reflect.get(globalThis, 'NamedMaster')
const slave = /** @type {import('named-master').Slave<{ parts: number }>} */ (new Slave(location.origin))
/** @type {Database} */
const db = slave.proxy('db')

const editor = new Editor(db)
const list = showParts({
  edit: (part) => editor.open(part),
  step: async (part, by) => {
    try {
      await db.put({ ...part, amount: part.amount + by })
    } catch (error) {
      say(error)
      void refresh()
    }
  },
})

const find = byId('find', HTMLInputElement)
const order = byId('order', HTMLSelectElement)

let asking = false
let askAgain = false
/** Shows what the database has now: one question at a time, and another one if something has changed meanwhile. */
async function refresh() {
  askAgain = true
  if (asking) return
  asking = true
  while (askAgain) {
    askAgain = false
    const [orderBy, direction] = order.value.split(' ')
    const filters = find.value === '' ? {} : { name: ['like', `%${find.value}%`] }
    try {
      list.show(await db.list({ filters, orderBy, order: direction, limit: MAX_SHOWN }), slave.getState().parts)
    } catch (error) {
      // A cut is no news: the lamp says it, and the list is asked for again when it is over.
      if (slave.status === 'connected') say(error)
    }
  }
  asking = false
}

// ---- what others do, and this page

slave.on('db.changed', (_state, /** @type {{ changes: Change[] }} */ { changes }, { phase, origin }) => {
  // Only the master says so: any slave may send a volatile event of this name.
  if (phase === 'volatile' || origin !== undefined) return
  list.changed(changes.map(({ id }) => id))
  for (const change of changes) editor.changed(change)
  void refresh()
})
slave.events.on('status', (status) => {
  if (status === 'connected') void refresh()
})
// What was written last may not have been told, or not what happened while this page was far behind.
slave.on('db.opened', () => void refresh())
slave.events.on('reset', () => void refresh())

// ---- what is asked for

find.addEventListener('input', () => void refresh())
order.addEventListener('change', () => void refresh())
byId('query').addEventListener('submit', (event) => event.preventDefault())
byId('add').addEventListener('click', () => editor.open(undefined))
document.addEventListener('keydown', (event) => {
  const target = /** @type {HTMLElement} */ (event.target)
  const typing = target.matches('input, textarea, select') || byId('editor', HTMLDialogElement).open
  if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  find.focus()
})

// ---- the connection

showLink(slave)
// Waits for the master for as long as the page is open; false is final.
if (await slave.connect('parts', { wait: true })) byId('add', HTMLButtonElement).disabled = false
else byId('absent').textContent = slave.lastError?.message ?? 'Reload the page to try again.'
