// @ts-check
/**
 * The editor of one part. It writes with the revision that it began with: if somebody else has written meanwhile, the
 * master refuses, and whoever lost decides what is to be.
 */
import { byId, say, sentenceOf } from './element.js'

/** @typedef {import('./page.js').Part} Part */
/** @typedef {import('./page.js').Change} Change */

const NEW = Object.freeze({ revision: 0, name: '', place: '', amount: 1, note: '' })

/** A random id: `crypto.randomUUID` is not there on plain http. */
const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

export class Editor {
  /** @type {import('./page.js').Database} */
  #db
  /** What was shown when it was opened, or taken over since. @type {Part | undefined} */
  #base
  #saving = false
  #dialog = byId('editor', HTMLDialogElement)
  #fields = {
    name: byId('name', HTMLInputElement),
    place: byId('place', HTMLInputElement),
    amount: byId('amount', HTMLInputElement),
    note: byId('note', HTMLTextAreaElement),
  }

  /** @param {import('./page.js').Database} db */
  constructor(db) {
    this.#db = db
    byId('form').addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#attempt((part) => this.#save(part))
    })
    byId('remove').addEventListener('click', () => void this.#attempt(({ id, revision }) => db.del(id, revision)))
    byId('cancel').addEventListener('click', () => this.#close())
    byId('theirs').addEventListener('click', () => void this.#takeTheirs((theirs) => this.#fill(theirs)))
    byId('mine').addEventListener(
      'click',
      () => void this.#takeTheirs(() => byId('form', HTMLFormElement).requestSubmit()),
    )
    this.#dialog.addEventListener('close', () => (this.#base = undefined))
  }

  /** @param {Part | undefined} part undefined: a new one */
  open(part) {
    // The id is made here: the same part may be sent again when its answer was lost, and is added once.
    this.#base = part ?? { ...NEW, id: newId() }
    byId('editor-title').textContent = part === undefined ? 'A new part' : 'Part'
    byId('remove').hidden = part === undefined
    this.#fill(this.#base)
    this.#dialog.showModal()
    this.#fields.name.focus()
  }

  /** Somebody has written, perhaps what is open here. @param {Change} change */
  changed({ id, revision, document }) {
    if (id !== this.#base?.id || revision <= this.#base.revision || this.#saving) return
    if (document === undefined) this.#notice('Somebody has removed this part.', 'mine')
    else this.#notice(`Somebody has changed this part: ${difference(this.#base, document)}.`, 'both')
  }

  /** One write at a time; what comes of it is told here, or at the edge of the page when the editor has gone on. @param {(part: Part) => Promise<unknown>} write */
  async #attempt(write) {
    if (this.#base === undefined || this.#saving) return
    const { id } = this.#base
    this.#saving = true
    byId('save', HTMLButtonElement).disabled = true
    try {
      await write({ ...this.#base, ...this.#read() })
      if (this.#base?.id === id) this.#close()
    } catch (error) {
      if (this.#base?.id === id) this.#failed(error)
      else say(error)
    } finally {
      this.#saving = false
      byId('save', HTMLButtonElement).disabled = false
    }
  }

  /** @param {Part} part */
  async #save(part) {
    try {
      await this.#db.put(part)
    } catch (error) {
      // Perhaps it was this page, by an earlier attempt whose answer was lost. What is there already needs no writing.
      const now = codeOf(error) === 'conflict' ? await this.#db.get(part.id) : undefined
      if (now === undefined || difference(now, part) !== '') throw error
    }
  }

  /** @param {unknown} error */
  #failed(error) {
    const code = codeOf(error)
    const unknown = code === 'unknown-outcome' || code === 'timeout'
    // Safe to say again: the revision lets it be done once.
    if (unknown)
      this.#notice('The answer was lost, so it may or may not be written. Save again: it is written once.', 'none')
    else this.#notice(sentenceOf(error), code === 'conflict' ? 'both' : 'none')
  }

  /** Goes on from what the database has now. @param {(theirs: Part) => void} then */
  async #takeTheirs(then) {
    const { id } = this.#base ?? { id: '' }
    try {
      const theirs = await this.#db.get(id)
      if (this.#base?.id !== id) return
      this.#base = theirs ?? { ...NEW, ...this.#base, revision: 0 }
      byId('notice').hidden = true
      then(this.#base)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** @param {string} sentence @param {'none' | 'mine' | 'both'} choice what whoever lost may do */
  #notice(sentence, choice) {
    byId('notice').hidden = false
    byId('notice-text').textContent = sentence
    byId('theirs').hidden = choice !== 'both'
    byId('mine').hidden = choice === 'none'
  }

  /** @param {Part} part */
  #fill(part) {
    byId('notice').hidden = true
    const { name, place, amount, note } = this.#fields
    Object.assign(name, { value: part.name })
    Object.assign(place, { value: part.place })
    Object.assign(amount, { value: String(part.amount) })
    Object.assign(note, { value: part.note })
  }

  #read() {
    const { name, place, amount, note } = this.#fields
    return { name: name.value.trim(), place: place.value.trim(), amount: amount.valueAsNumber, note: note.value.trim() }
  }

  #close() {
    this.#dialog.close()
    say('')
  }
}

/** @param {unknown} error */
const codeOf = (error) => /** @type {{ code?: string }} */ (error).code

/** What is another in the second, in words; empty where nothing is. @param {Part} from @param {Part} to */
function difference(from, to) {
  const fields = /** @type {const} */ (['name', 'place', 'amount', 'note'])
  return fields
    .filter((field) => from[field] !== to[field])
    .map((field) => `the ${field} is ${to[field] === '' ? 'empty' : `“${to[field]}”`} now`)
    .join(', ')
}
