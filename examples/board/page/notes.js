// @ts-check
/**
 * The notes on the sheet: drawn by difference, selected, written in, coloured, removed.
 *
 * Each note is one element with its text; the one field to write in and the one toolbar move to the note that has them,
 * so that thousands of notes cost little. Texts are only ever set as text.
 */
import { COLOURS, MAX_TEXT_CHARACTERS, clip, withinBoard } from '../store.js'
import { byId } from './frame.js'
import { followMoves } from './moves.js'
import { say, toast } from './toasts.js'

/** While somebody writes, others see it this often: each time is a commit. */
const WRITE_MILLISECONDS = 200
/** From here on a browser without a graphics card drops frames over shadows and glides: then notes go without. */
const CROWD_NOTES = 400
/** What the toolbar needs below a note, the dock included. */
const TOOLS_ROOM_PX = 150
const TOOLS_GAP_PX = 8

/**
 * @typedef {import('../store.js').Board} Board
 * @typedef {import('../store.js').Note} Note
 * @typedef {{ id: string, element: HTMLElement, words: HTMLElement, note: Note, drawn: Partial<Note> }} View
 * @param {{ slave: import('named-master').Slave, change: (event: string, payload: unknown) => boolean,
 *   scroller: HTMLElement, surface: HTMLElement, rendered: () => void,
 *   personOf: (client: number | undefined) => import('../store.js').Person | undefined }} page
 */
export function showNotes({ slave, change, scroller, surface, rendered, personOf }) {
  /** @type {Map<string, View>} */
  const views = new Map()
  /** @type {string | undefined} */
  let selected
  let added = ''
  let nextColour = COLOURS[Math.floor(Math.random() * (COLOURS.length - 1))]
  const tools = byId('tools')

  const moves = followMoves({
    slave, change, scroller, surface,
    show: (id) => place(views.get(id)),
    isSelected: (id) => selected === id,
    clicked: (id, wasSelected) => {
      const view = views.get(id)
      if (wasSelected) return edit(id)
      // A finger's tap does not focus everywhere by itself; and what kept the focus is not focused anew.
      view?.element.focus({ preventScroll: true })
      select(id)
      if (view !== undefined && view.note.z !== slave.getState()?.top) change('note.raise', { id })
    },
  }) // prettier-ignore

  /** @param {View | undefined} view */
  function place(view) {
    if (view === undefined) return
    const { element, id } = view
    const at = moves.placeOf(id) ?? slave.getState()?.notes[id] ?? view.note
    element.style.transform = `translate(${at.x}px, ${at.y}px)`
    element.classList.toggle('mine', moves.isOwn(id))
    const holder = personOf(moves.holderOf(id))
    element.classList.toggle('held', holder !== undefined)
    if (holder !== undefined) Object.assign(element.dataset, { ink: holder.ink, holder: holder.name })
    if (id === selected) placeTools()
  }

  function create(/** @type {string} */ id, /** @type {Note} */ note) {
    const element = document.createElement('article')
    element.className = 'note'
    element.tabIndex = 0
    element.dataset.id = id
    element.setAttribute('role', 'group')
    element.setAttribute('aria-roledescription', 'note')
    element.setAttribute('aria-describedby', 'note-help')
    const words = document.createElement('p')
    element.append(words)
    const view = { id, element, words, note, drawn: {} }
    views.set(id, view)
    return view
  }

  // By value and not by identity: how a store keeps what did not change is its own business.
  function draw(/** @type {View} */ view, /** @type {Note} */ note) {
    const { element, words, drawn } = view
    view.note = note
    if (drawn.colour !== note.colour) element.dataset.colour = note.colour
    if (drawn.z !== note.z) element.style.zIndex = String(note.z)
    if (drawn.text !== note.text) {
      // The last line break of a text shows only when something follows it.
      words.textContent = note.text.endsWith('\n') ? `${note.text} ` : note.text
      element.setAttribute('aria-label', note.text.trim() === '' ? 'Empty note' : note.text)
      if (view.id === writing?.id) receiveText(note.text)
    }
    if (drawn.x !== note.x || drawn.y !== note.y) place(view)
    else if (view.id === selected) placeTools()
    view.drawn = { ...note }
  }

  function render(/** @type {Board} */ state) {
    const fresh = document.createDocumentFragment()
    for (const [id, note] of Object.entries(state.notes)) {
      const known = views.get(id)
      const view = known ?? create(id, note)
      draw(view, note)
      if (known === undefined) fresh.append(view.element)
    }
    surface.append(fresh)
    surface.classList.toggle('crowded', views.size >= CROWD_NOTES)
    for (const [id, view] of views) if (!Object.hasOwn(state.notes, id)) drop(view)
  }

  function drop(/** @type {View} */ { id, element, note }) {
    const written = writing?.id === id
    views.delete(id)
    moves.forget(id)
    if (written) {
      stopWriting(false)
      toast('The note you were writing was removed.', putBack(id, note))
    }
    if (selected === id) select(undefined)
    element.remove()
  }

  const putBack = (/** @type {string} */ id, /** @type {Note} */ { x, y, text, colour }) => ({
    label: 'Put back',
    run: () => {
      change('note.restore', { id, x, y, text, colour })
      rendered()
      views.get(id)?.element.focus()
    },
  })

  /** @param {string} id @param {boolean} byKey then the focus goes on to a neighbour, not to the start of the page */
  function remove(id, byKey) {
    const view = views.get(id)
    if (view === undefined) return
    stopWriting(true)
    const note = slave.getState()?.notes[id] ?? view.note
    const order = [...views.keys()]
    const next = order[order.indexOf(id) + 1] ?? order[order.indexOf(id) - 1] ?? ''
    change('note.remove', { id })
    rendered()
    toast('Note removed.', putBack(id, note))
    if (byKey) (views.get(next)?.element ?? byId('add')).focus()
  }

  // The handler learns the id that the note gets at both ends.
  slave.on('note.add', (_state, _payload, info) => {
    if (info.phase === 'predict') added = info.id
  })
  function add(/** @type {number} */ x, /** @type {number} */ y) {
    if (!change('note.add', { ...withinBoard(x, y), colour: nextColour })) return
    rendered()
    edit(added)
  }

  // ---- selecting

  function select(/** @type {string | undefined} */ id) {
    if (id === selected) return
    views.get(selected ?? '')?.element.classList.remove('selected')
    selected = id
    const view = views.get(id ?? '')
    tools.hidden = view === undefined
    if (view === undefined) return surface.before(tools)
    view.element.classList.add('selected')
    // Next in the page, so that Tab leads from the note to its tools.
    view.element.after(tools)
    placeTools()
  }

  function placeTools() {
    const view = views.get(selected ?? '')
    if (view === undefined) return
    const { x, y } = moves.placeOf(view.id) ?? view.note
    const height = view.element.offsetHeight
    const below = y + height + TOOLS_ROOM_PX < scroller.scrollTop + scroller.clientHeight
    const top = below ? y + height + TOOLS_GAP_PX : y - tools.offsetHeight - TOOLS_GAP_PX
    const right = scroller.scrollLeft + scroller.clientWidth - tools.offsetWidth - TOOLS_GAP_PX
    const left = Math.max(scroller.scrollLeft + TOOLS_GAP_PX, Math.min(x, right))
    tools.style.transform = `translate(${left}px, ${Math.max(0, top)}px)`
    tools.classList.toggle('away', moves.isOwn(view.id))
    for (const swatch of byId('swatches').children) {
      swatch.setAttribute(
        'aria-pressed',
        String(/** @type {HTMLElement} */ (swatch).dataset.colour === view.note.colour),
      )
    }
  }

  surface.addEventListener('focusin', (event) => {
    const note = /** @type {Element} */ (event.target).closest('.note')
    if (note !== null) select(/** @type {HTMLElement} */ (note).dataset.id)
  })
  surface.addEventListener('focusout', () => moves.keyUp())
  scroller.addEventListener('pointerdown', (event) => {
    if (event.target === surface || event.target === scroller) select(undefined)
  })

  // ---- writing

  const field = document.createElement('textarea')
  field.maxLength = MAX_TEXT_CHARACTERS
  field.setAttribute('aria-label', 'Text of the note')
  /** @type {{ id: string, timer: number | undefined, composing: boolean } | undefined} */
  let writing

  function edit(/** @type {string} */ id) {
    const view = views.get(id)
    if (view === undefined || writing?.id === id) return
    stopWriting(true)
    writing = { id, timer: undefined, composing: false }
    field.value = view.note.text
    view.element.classList.add('writing')
    view.element.append(field)
    field.focus()
    field.setSelectionRange(field.value.length, field.value.length)
  }
  function sendText() {
    if (writing === undefined || writing.timer === undefined) return
    clearTimeout(writing.timer)
    writing.timer = undefined
    change('note.text', { id: writing.id, text: clip(field.value, MAX_TEXT_CHARACTERS) })
  }
  function stopWriting(/** @type {boolean} */ send) {
    if (writing === undefined) return
    const view = views.get(writing.id)
    if (send) sendText()
    clearTimeout(writing.timer)
    writing = undefined
    view?.element.classList.remove('writing')
    field.remove()
  }
  /** Somebody wrote in the same note: theirs is shown, unless there is something of ours to send, which is later. */
  function receiveText(/** @type {string} */ text) {
    if (writing === undefined || writing.timer !== undefined || writing.composing || field.value === text) return
    const caret = Math.min(field.selectionStart, text.length)
    field.value = text
    field.setSelectionRange(caret, caret)
  }
  field.addEventListener('input', () => {
    const view = views.get(writing?.id ?? '')
    if (writing === undefined || view === undefined) return
    view.words.textContent = `${field.value} `
    writing.timer ??= window.setTimeout(sendText, WRITE_MILLISECONDS)
  })
  field.addEventListener('compositionstart', () => writing && (writing.composing = true))
  field.addEventListener('compositionend', () => writing && (writing.composing = false))
  field.addEventListener('blur', () => stopWriting(true))

  // ---- keys and tools

  function recolour(/** @type {View} */ view, /** @type {string} */ colour) {
    nextColour = colour
    change('note.colour', { id: view.id, colour })
    say(colour)
  }

  surface.addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement} */ (event.target)
    if (target === field) {
      const done = event.key === 'Escape' || (event.key === 'Enter' && (event.ctrlKey || event.metaKey))
      if (done && !event.isComposing) field.closest('article')?.focus()
      return
    }
    const view = target.classList.contains('note') ? views.get(target.dataset.id ?? '') : undefined
    if (view === undefined || event.ctrlKey || event.metaKey || event.altKey) return
    if (moves.key(view.id, event)) view.element.scrollIntoView({ block: 'nearest', inline: 'nearest' })
    else if (event.key === 'Enter' || event.key === 'F2') edit(view.id)
    else if (event.key === 'Delete' || event.key === 'Backspace') remove(view.id, true)
    else if (event.key === 'c') recolour(view, COLOURS[(COLOURS.indexOf(view.note.colour) + 1) % COLOURS.length] ?? '')
    else if (event.key === 'Escape') {
      moves.giveUp()
      select(undefined)
    } else return
    event.preventDefault()
  })
  surface.addEventListener('keyup', (event) => {
    if (event.key.startsWith('Arrow')) moves.keyUp()
  })
  for (const colour of COLOURS) {
    const swatch = document.createElement('button')
    swatch.type = 'button'
    swatch.dataset.colour = colour
    swatch.title = colour
    swatch.setAttribute('aria-label', colour)
    swatch.addEventListener('click', () => {
      const view = views.get(selected ?? '')
      if (view !== undefined) recolour(view, colour)
    })
    byId('swatches').append(swatch)
  }
  byId('write').addEventListener('click', () => edit(selected ?? ''))
  byId('remove').addEventListener('click', (event) => remove(selected ?? '', event.detail === 0))

  return { render, add }
}
