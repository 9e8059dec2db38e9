// @ts-check
/**
 * The page: a Slave of the name "board", and what is seen of its state.
 *
 * It registers the same handlers as the master, so every change shows at once, and draws from the state alone: whether
 * a change came from this page, from another one or from the disk makes no difference here.
 */
import { NOTE_WIDTH_PX, handleBoard } from '../store.js'
import { byId, perFrame } from './frame.js'
import { showLink } from './link.js'
import { showNotes } from './notes.js'
import { showPeople } from './people.js'

/** How far a new note may land from the middle, so that two of them do not hide one another. */
const SCATTER_PX = 120

/** @type {typeof import('named-master')} */
const { Slave } = Reflect.get(globalThis, 'NamedMaster')
const slave = /** @type {import('named-master').Slave<import('../store.js').Board>} */ (new Slave(location.origin))
handleBoard(slave)

const scroller = byId('scroller')
const surface = byId('surface')
const link = showLink(slave)
const { change } = link
const people = showPeople({ slave, change, scroller, surface })
const notes = showNotes({ slave, change, scroller, surface, personOf: people.personOf, rendered: () => render() })

let here = false
function render() {
  const state = slave.getState()
  if (state === undefined) return
  if (!here) arrive()
  notes.render(state)
  people.render(state)
  byId('count').textContent = String(state.count)
  byId('empty').hidden = Object.keys(state.notes).length > 0
}
slave.subscribe(perFrame(render))

function arrive() {
  here = true
  link.arrived()
  for (const id of ['less', 'more', 'add']) /** @type {HTMLButtonElement} */ (byId(id)).disabled = false
}

// ---- controls

byId('less').addEventListener('click', () => change('count.add', -1))
byId('more').addEventListener('click', () => change('count.add', 1))

/** A new note in the middle of what is seen. */
function addInView() {
  if (!here) return
  const scatter = () => (Math.random() - 0.5) * 2 * SCATTER_PX
  const { scrollLeft, scrollTop, clientWidth, clientHeight } = scroller
  const x = scrollLeft + (clientWidth - NOTE_WIDTH_PX) / 2 + scatter()
  const rightmost = scrollLeft + clientWidth - NOTE_WIDTH_PX
  notes.add(Math.max(scrollLeft, Math.min(x, rightmost)), scrollTop + clientHeight / 3 + scatter())
}
byId('add').addEventListener('click', addInView)
surface.addEventListener('dblclick', (event) => {
  if (event.target !== surface || !here) return
  const sheet = surface.getBoundingClientRect()
  notes.add(event.clientX - sheet.left, event.clientY - sheet.top)
})
document.addEventListener('keydown', (event) => {
  const target = /** @type {HTMLElement} */ (event.target)
  if (event.key !== 'n' || event.ctrlKey || event.metaKey || event.altKey || target.matches('input, textarea')) return
  event.preventDefault()
  addInView()
})

// A mouse takes hold of the sheet itself; a finger pans by the browser's own means.
let sheetPointer = -1
surface.addEventListener('pointerdown', (event) => {
  if (event.target !== surface || event.pointerType !== 'mouse' || event.button !== 0) return
  sheetPointer = event.pointerId
  surface.setPointerCapture(sheetPointer)
})
surface.addEventListener('pointermove', (event) => {
  if (event.pointerId !== sheetPointer || !surface.hasPointerCapture(sheetPointer)) return
  scroller.scrollBy({ left: -event.movementX, top: -event.movementY, behavior: 'instant' })
})
surface.addEventListener('lostpointercapture', () => (sheetPointer = -1))

// ---- the connection

// Waits for the master for as long as the page is open; false is final.
if (await slave.connect('board', { wait: true })) {
  render()
  people.hello()
  slave.events.on('status', (status) => {
    if (status === 'connected') people.hello()
  })
} else {
  link.failed(slave.lastError?.message ?? 'Reload the page to try again.')
}
