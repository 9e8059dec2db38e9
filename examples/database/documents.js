// @ts-check
/**
 * Documents in a Level database: what a master exposes, method by method. Knows nothing of networks.
 *
 * Promises: a document is written only by who has seen its latest revision, everybody else gets the code `conflict`; a
 * batch is written whole or not at all; what was written is told once, in order. What it is given comes from strangers
 * and is checked. Does not promise an index: `list` reads all documents, which is fine for some ten thousand.
 */
import { NamedMasterError } from 'named-master'

/**
 * `revision` counts the writes of a document. To write one, say which revision you have seen; 0 says that it is new.
 * @typedef {{ id: string, revision: number } & Record<string, unknown>} Document
 *
 * @typedef {{ op: 'put', document: Document } | { op: 'del', id: string, revision: number }} Write
 *
 * What happened to a document; without `document` it was removed.
 * @typedef {{ id: string, revision: number, document?: Document }} Change
 *
 * As FrappeJS's getAll has them: `{ filters: { place: 'A3', amount: ['<', 5] }, orderBy: 'name', order: 'desc', limit: 20 }`
 * @typedef {object} Query
 * @property {Record<string, unknown>} [filters] a value, or an operator and its operand: = != < <= > >= in like
 * @property {string} [orderBy] a field; default `id`
 * @property {'asc' | 'desc'} [order]
 * @property {number} [start] how many to pass over
 * @property {number} [limit] at most 500, which is the default
 * @property {string[]} [fields] what to answer of each, beside id and revision; default: all
 */

/**
 * Where things are in Level. Of a removed document its revision stays: one that is made anew under its id goes on from
 * there, so that nobody who has seen an old one passes for having seen the new one.
 */
const DOCUMENT = 'document!'
const REMOVED = 'removed!'
const ALL_DOCUMENTS = { gte: DOCUMENT, lt: 'document"' }

/** More are asked for page by page: an answer of this many documents is some hundred kilobytes. */
const MAX_LISTED = 500

/** Of a query's JSON. */
const MAX_QUERY_CHARACTERS = 4096
/** Its changes are one event, which every slave gets. */
const MAX_BATCH = 100

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })
/** Numbers by size, texts as people sort them ("A2" before "A10"), what is not there at the end. @type {(a: unknown, b: unknown) => number} */
const compare = (a, b) => {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined)
  return typeof a === 'number' && typeof b === 'number' ? a - b : collator.compare(String(a), String(b))
}

/** @type {Record<string, (value: unknown, operand: any) => boolean>} */
const OPERATORS = {
  '=': (value, operand) => value === operand,
  '!=': (value, operand) => value !== operand,
  '<': (value, operand) => value !== undefined && compare(value, operand) < 0,
  '<=': (value, operand) => value !== undefined && compare(value, operand) <= 0,
  '>': (value, operand) => value !== undefined && compare(value, operand) > 0,
  '>=': (value, operand) => value !== undefined && compare(value, operand) >= 0,
  in: (value, operand) => Array.isArray(operand) && operand.includes(value),
  like: (value, operand) => isLike(String(value ?? ''), String(operand)),
}

export class Documents {
  /** @type {import('level').Level<string, Document>} */
  #level
  /** @type {(document: Document) => Record<string, unknown>} */
  #check
  /** @type {(changes: Change[], more: number) => void} */
  #told
  /** Writes, one at a time: between looking at a revision and writing the next there is nobody else. */
  #turn = Promise.resolve()

  /**
   * @param {import('level').Level<string, Document>} level with JSON values
   * @param {object} options
   * @param {(document: Document) => Record<string, unknown>} options.check answers what is kept of a document; throws what is wrong with it
   * @param {(changes: Change[], more: number) => void} options.told gets what has been written, and how many documents there are more (or fewer)
   */
  constructor(level, { check, told }) {
    this.#level = level
    this.#check = check
    this.#told = told
  }

  /** How many there are. */
  async count() {
    return (await this.#level.keys(ALL_DOCUMENTS).all()).length
  }

  /** The document, or undefined where there is none. @param {string} id */
  async get(id) {
    return this.#level.get(DOCUMENT + checkedId(id))
  }

  /** @param {Query} [query] */
  async list(query = {}) {
    // A slave may send a message of megabytes, and each of its conditions is asked of each document.
    if (JSON.stringify(query ?? {}).length > MAX_QUERY_CHARACTERS)
      throw new Error(`list: a query has at most ${MAX_QUERY_CHARACTERS} characters.`)
    const { filters = {}, orderBy = 'id', order = 'asc', start = 0, limit = MAX_LISTED, fields } = query ?? {}
    if (!isCount(start) || !isCount(limit)) throw new Error('list: start and limit are whole numbers from 0.')
    const conditions = Object.entries(filters).map(conditionOf)
    /** @type {Document[]} */
    const found = []
    for await (const document of this.#level.values(ALL_DOCUMENTS)) {
      if (conditions.every((holds) => holds(document))) found.push(document)
    }
    const sign = order === 'desc' ? -1 : 1
    found.sort((a, b) => sign * compare(field(a, orderBy), field(b, orderBy)) || compare(a.id, b.id))
    const page = found.slice(start, start + Math.min(limit, MAX_LISTED))
    return Array.isArray(fields) ? page.map((document) => only(document, fields)) : page
  }

  /** Writes a document and answers it with its new revision. @param {Document} document */
  async put(document) {
    const [written] = await this.batch([{ op: 'put', document }])
    return written
  }

  /** @param {string} id @param {number} revision the one that is to be removed */
  async del(id, revision) {
    await this.batch([{ op: 'del', id, revision }])
  }

  /** All of these writes, or none. Answers the documents put. @param {Write[]} writes @returns {Promise<Document[]>} */
  batch(writes) {
    const mine = this.#turn.then(async () => {
      if (!Array.isArray(writes) || writes.length > MAX_BATCH)
        throw new Error(`A batch is a list of up to ${MAX_BATCH}.`)
      const changes = await Promise.all(writes.map((write) => this.#judge(write)))
      if (new Set(changes.map(({ id }) => id)).size < changes.length) throw new Error('A batch writes a document once.')
      await this.#level.batch(
        changes.flatMap(({ id, revision, document }) =>
          document === undefined
            ? [
                { type: 'del', key: DOCUMENT + id },
                { type: 'put', key: REMOVED + id, value: { id, revision } },
              ]
            : [
                { type: 'put', key: DOCUMENT + id, value: document },
                { type: 'del', key: REMOVED + id },
              ],
        ),
      )
      const added = writes.filter((write) => write.op === 'put' && write.document.revision === 0)
      this.#told(changes, added.length - writes.filter(({ op }) => op === 'del').length)
      return changes.flatMap(({ document }) => document ?? [])
    })
    this.#turn = mine.then(
      () => undefined,
      () => undefined,
    )
    return mine
  }

  /** What a write makes, where it may be made. @param {Write} write @returns {Promise<Change>} */
  async #judge(write) {
    const { id, revision } = write?.op === 'put' ? (write.document ?? {}) : (write ?? {})
    const known = await this.get(id)
    if (revision !== (known?.revision ?? 0)) throw new NamedMasterError('conflict', conflictSentence(known, revision))
    const latest = known ?? (await this.#level.get(REMOVED + id))
    const next = { id, revision: (latest?.revision ?? 0) + 1 }
    if (write.op === 'put') return { ...next, document: { ...this.#check(write.document), ...next } }
    if (write.op !== 'del') throw new Error('A write is {op: "put", document} or {op: "del", id, revision}.')
    if (known === undefined) throw new Error('There is no such document.')
    return next
  }
}

/** @param {Document | undefined} known @param {unknown} revision */
function conflictSentence(known, revision) {
  if (known === undefined) return 'Somebody has removed this document meanwhile.'
  if (revision === 0) return 'There is a document with this id already.'
  return `Somebody has changed this document meanwhile: it is at revision ${known.revision}, and you have seen ${String(revision)}.`
}

/** @param {unknown} id */
function checkedId(id) {
  if (typeof id === 'string' && /^[\w-]{1,64}$/.test(id)) return id
  throw new Error('An id is 1 to 64 letters, digits, "-" or "_".')
}

const isCount = (/** @type {unknown} */ number) => Number.isSafeInteger(number) && Number(number) >= 0

/** What a document has of itself: a name from a stranger may be "constructor". @param {Document} document @param {string} name */
const field = (document, name) => (Object.hasOwn(document, name) ? document[name] : undefined)

/** @param {Document} document @param {string[]} fields */
const only = (document, fields) =>
  Object.fromEntries(
    ['id', 'revision', ...fields].flatMap((name) => (Object.hasOwn(document, name) ? [[name, document[name]]] : [])),
  )

/** @param {[string, unknown]} filter @returns {(document: Document) => boolean} */
function conditionOf([name, wanted]) {
  const [operator, operand] = Array.isArray(wanted) ? wanted : ['=', wanted]
  const holds = Object.hasOwn(OPERATORS, operator) ? OPERATORS[operator] : undefined
  if (holds === undefined) throw new Error(`list: an operator is one of ${Object.keys(OPERATORS).join(' ')}.`)
  return (document) => holds(field(document, name), operand)
}

/** SQL's LIKE with "%" alone. By hand: a stranger's RegExp could take the process's time for seconds. @param {string} value @param {string} pattern */
function isLike(value, pattern) {
  const text = value.toLowerCase()
  const [first = '', ...parts] = pattern.toLowerCase().split('%')
  const last = parts.pop()
  if (last === undefined) return text === first
  let at = first.length
  if (!text.startsWith(first)) return false
  for (const part of parts) {
    const found = text.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}
