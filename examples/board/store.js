// @ts-check
/**
 * The board's state and everything that can happen to it.
 *
 * The master and every page register these same handlers: in a page they predict its own changes, at the master they
 * decide. So they use `info.id` and `info.at` instead of random ids and the clock, and they check what they are given:
 * at the master a payload comes from a stranger. What a handler throws there is told to its sender and changes nothing.
 * Imports nothing, because the browser loads this file as it is.
 */

/** @typedef {{ x: number, y: number, z: number, text: string, colour: string }} Note */
/** @typedef {{ name: string, ink: string }} Person */
/** @typedef {{ notes: Record<string, Note>, top: number, count: number, people: Record<string, Person> }} Board */
/** @typedef {{ id: string, origin: { client: number } | undefined }} Info */
/**
 * What is used of a store here; createStore's, a Master's and a Slave's all have it.
 * @typedef {{ on(event: string, handler: (state: Board, payload: any, info: Info) => void): unknown }} Listening
 */

/** A sheet of about two desktop windows each way: room to spread out, small enough to find each other. */
export const BOARD_WIDTH_PX = 2400
export const BOARD_HEIGHT_PX = 1600
/** A note is as wide as a card; its height follows its text, and only this much of it must stay on the board. */
export const NOTE_WIDTH_PX = 208
export const NOTE_LEAST_HEIGHT_PX = 120
/** Enough for a paragraph; longer texts want a document. */
export const MAX_TEXT_CHARACTERS = 500
export const MAX_NAME_CHARACTERS = 24
/** Every page shows all of them; beyond this a browser's layout takes longer than a frame. */
export const MAX_NOTES = 5000

export const COLOURS = Object.freeze(['straw', 'coral', 'moss', 'sky', 'lilac', 'card'])
export const INKS = Object.freeze(['brick', 'teal', 'indigo', 'ochre', 'plum', 'forest', 'rose', 'slate'])

/** @returns {Board} */
export const emptyBoard = () => ({ notes: {}, top: 0, count: 0, people: {} })

/** Text as it may be kept: bounded, and without half a character where it was cut. */
export const clip = (/** @type {string} */ text, /** @type {number} */ characters) =>
  text.slice(0, characters).replace(/\p{Surrogate}/gu, '')

/** A place where a note is reachable by its corner. */
export const withinBoard = (/** @type {number} */ x, /** @type {number} */ y) => ({
  x: Math.round(Math.min(Math.max(x, 0), BOARD_WIDTH_PX - NOTE_WIDTH_PX)),
  y: Math.round(Math.min(Math.max(y, 0), BOARD_HEIGHT_PX - NOTE_LEAST_HEIGHT_PX)),
})

/** @param {Listening} store */
export function handleBoard(store) {
  store.on('note.add', (state, payload, info) => {
    refuseWhenFull(state)
    state.notes[info.id] = { ...place(payload), z: ++state.top, text: '', colour: colour(payload) }
  })

  // Undo of a removal: the note comes back under its own id, on top.
  store.on('note.restore', (state, payload) => {
    const id = String(payload?.id)
    if (!/^[0-9a-f-]{36}$/.test(id)) throw new Error('This is no id of a note.')
    if (noteOf(state, id) !== undefined) return
    refuseWhenFull(state)
    state.notes[id] = { ...place(payload), z: ++state.top, text: text(payload), colour: colour(payload) }
  })

  // A change of a note that somebody has just removed is no error: there is nothing left to change.
  store.on('note.text', (state, payload) => {
    const note = noteOf(state, payload?.id)
    if (note !== undefined) note.text = text(payload)
  })
  store.on('note.colour', (state, payload) => {
    const note = noteOf(state, payload?.id)
    if (note !== undefined) note.colour = colour(payload)
  })
  store.on('note.move', (state, payload) => {
    const note = noteOf(state, payload?.id)
    if (note !== undefined) Object.assign(note, place(payload), { z: toTop(state, note) })
  })
  store.on('note.raise', (state, payload) => {
    const note = noteOf(state, payload?.id)
    if (note !== undefined) note.z = toTop(state, note)
  })
  store.on('note.remove', (state, payload) => {
    if (noteOf(state, payload?.id) !== undefined) delete state.notes[payload.id]
  })

  // An event and not a mutate: it runs on the true count, so that everyone's clicks add up.
  store.on('count.add', (state, by) => {
    if (by !== 1 && by !== -1) throw new Error('The counter takes one step at a time.')
    state.count += by
  })

  store.on('hello', (state, payload, info) => {
    if (info.origin === undefined) return
    const name = clip(String(payload?.name ?? ''), MAX_NAME_CHARACTERS).trim()
    const ink = INKS.includes(payload?.ink) ? payload.ink : INKS[0]
    state.people[info.origin.client] = { name: name === '' ? 'Somebody' : name, ink }
  })
  // Said by the master alone, which sees the links end: client numbers.
  store.on('people.left', (state, clients, info) => {
    if (info.origin !== undefined) throw new Error('Only the master says who has left.')
    for (const client of clients) delete state.people[client]
  })
}

/** @returns {Note | undefined} */
const noteOf = (/** @type {Board} */ state, /** @type {unknown} */ id) =>
  typeof id === 'string' && Object.hasOwn(state.notes, id) ? state.notes[id] : undefined

const toTop = (/** @type {Board} */ state, /** @type {Note} */ note) => (note.z === state.top ? note.z : ++state.top)

/** @param {Board} state */
function refuseWhenFull(state) {
  if (Object.keys(state.notes).length >= MAX_NOTES) throw new Error(`The board is full: it holds ${MAX_NOTES} notes.`)
}

/** @param {any} payload */
function place(payload) {
  const { x, y } = payload ?? {}
  if (!Number.isFinite(x) || !Number.isFinite(y)) throw new Error('A place on the board is two numbers.')
  return withinBoard(x, y)
}

/** @param {any} payload */
function colour(payload) {
  if (!COLOURS.includes(payload?.colour)) throw new Error(`A note is one of these colours: ${COLOURS.join(', ')}.`)
  return payload.colour
}

/** @param {any} payload */
function text(payload) {
  if (typeof payload?.text !== 'string') throw new Error('A text is missing.')
  if (payload.text.length > MAX_TEXT_CHARACTERS) {
    throw new Error(`A note holds ${MAX_TEXT_CHARACTERS} characters; this text has ${payload.text.length}.`)
  }
  return clip(payload.text, MAX_TEXT_CHARACTERS)
}
