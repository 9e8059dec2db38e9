// @ts-check
/**
 * Moving notes: one's own at once, others' as they go.
 *
 * While a note is under way its places are volatile messages, one per frame at most; only where it is put down is a
 * change, one `note.move`. So the log gets one commit per move. When two move the same note, each sees their own hand;
 * a third sees the one who began first; in the end it lies where it was put down last.
 */
import { withinBoard } from '../store.js'
import { perFrame } from './frame.js'

/** Steps of the arrow keys; the large one is the grid's. */
const STEP_PX = 16
const FINE_STEP_PX = 2
/** A finger trembles by less; what moves further is a drag and no click. */
const DRAG_PX = 5
/** Near an edge of the window the sheet moves along, by so much a frame. */
const EDGE_PX = 36
const EDGE_STEP_PX = 10
/** A note held still is said again this often, and let go when nothing was said for three times as long. */
const HOLD_MILLISECONDS = 1000
const LET_GO_MILLISECONDS = 3 * HOLD_MILLISECONDS

const ARROWS = new Map([
  ['ArrowLeft', { x: -1, y: 0 }],
  ['ArrowRight', { x: 1, y: 0 }],
  ['ArrowUp', { x: 0, y: -1 }],
  ['ArrowDown', { x: 0, y: 1 }],
])

/**
 * @typedef {{ id: string, drag: number, x: number, y: number, hold: number }} Own
 * @typedef {{ client: number, x: number, y: number, timer: number }} Held
 * @param {{ slave: import('named-master').Slave, change: (event: string, payload: unknown) => void,
 *   scroller: HTMLElement, surface: HTMLElement,
 *   show: (id: string) => void, clicked: (id: string, wasSelected: boolean) => void,
 *   isSelected: (id: string) => boolean }} page
 */
export function followMoves({ slave, change, scroller, surface, show, clicked, isSelected }) {
  /** @type {Own | undefined} */
  let own
  /** @type {Map<string, Held>} */
  const held = new Map()
  /** Of each client the last drag that has ended: a place that comes late (volatile messages have no order) is void. */
  const ended = new Map()

  const noteOf = (/** @type {string} */ id) => slave.getState()?.notes[id]

  // Handlers run while the store is at work: they note what to draw, and the next frame draws it.
  /** @type {Set<string>} */
  const moved = new Set()
  const drawMoved = perFrame(() => {
    for (const id of moved) show(id)
    moved.clear()
  })
  const redraw = (/** @type {string} */ id) => {
    moved.add(id)
    drawMoved()
  }

  const tell = perFrame(() => {
    if (own === undefined || slave.status !== 'connected') return
    const { id, drag, x, y } = own
    slave.volatile.emit('drag', { id, drag, x, y })
  })
  const begin = (/** @type {string} */ id) => {
    const note = noteOf(id)
    if (note === undefined) return
    // Time grows across reloads of the page, which a counter would not.
    own = { id, drag: Date.now(), x: note.x, y: note.y, hold: window.setInterval(tell, HOLD_MILLISECONDS) }
  }
  const moveTo = (/** @type {number} */ x, /** @type {number} */ y) => {
    if (own === undefined) return
    Object.assign(own, withinBoard(x, y))
    redraw(own.id)
    tell()
  }
  const finish = (/** @type {boolean} */ putDown) => {
    if (own === undefined) return
    const { id, drag, x, y, hold } = own
    clearInterval(hold)
    own = undefined
    if (putDown && noteOf(id) !== undefined) change('note.move', { id, x, y, drag })
    else if (slave.status === 'connected') slave.volatile.emit('drag', { id, drag, end: true })
    redraw(id)
  }

  const letGo = (/** @type {string} */ id) => {
    clearTimeout(held.get(id)?.timer)
    if (held.delete(id)) redraw(id)
  }
  slave.on('drag', (state, /** @type {any} */ payload, info) => {
    const client = info.origin?.client
    const { id, drag, x, y, end } = payload ?? {}
    if (client === undefined || info.phase !== 'volatile' || typeof id !== 'string' || !Number.isFinite(drag)) return
    if (own?.drag === drag || drag <= (ended.get(client) ?? 0)) return
    if (!Object.hasOwn(state.notes, id)) return
    const holder = held.get(id)
    if (holder !== undefined && holder.client !== client) return
    if (end === true) {
      ended.set(client, drag)
      letGo(id)
    } else if (Number.isFinite(x) && Number.isFinite(y)) {
      clearTimeout(holder?.timer)
      const timer = window.setTimeout(() => letGo(id), LET_GO_MILLISECONDS)
      held.set(id, { client, ...withinBoard(x, y), timer })
      redraw(id)
    }
  })
  slave.on('note.move', (_state, /** @type {any} */ payload, info) => {
    const client = info.origin?.client
    if (info.phase !== 'commit' || client === undefined) return
    if (Number.isFinite(payload?.drag)) ended.set(client, payload.drag)
    if (held.get(payload?.id)?.client === client) letGo(payload.id)
  })

  /** The pointer that holds a note: from where, and where the note was then. */
  /** @type {{ id: string, pointer: number, x: number, y: number, dx: number, dy: number, selected: boolean } | undefined} */
  let grip
  const onSheet = (/** @type {{ x: number, y: number }} */ at) => {
    const sheet = surface.getBoundingClientRect()
    return { x: at.x - sheet.left, y: at.y - sheet.top }
  }
  let last = { x: 0, y: 0 }
  const follow = () => {
    if (grip === undefined || own === undefined) return
    const at = onSheet(last)
    moveTo(at.x - grip.dx, at.y - grip.dy)
  }
  const alongEdges = perFrame(() => {
    if (grip === undefined || own === undefined) return
    const box = scroller.getBoundingClientRect()
    const step = (/** @type {number} */ at, /** @type {number} */ from, /** @type {number} */ to) =>
      at < from + EDGE_PX ? -EDGE_STEP_PX : at > to - EDGE_PX ? EDGE_STEP_PX : 0
    const [x, y] = [step(last.x, box.left, box.right), step(last.y, box.top, box.bottom)]
    const before = [scroller.scrollLeft, scroller.scrollTop]
    scroller.scrollBy({ left: x, top: y, behavior: 'instant' })
    follow()
    if (before[0] !== scroller.scrollLeft || before[1] !== scroller.scrollTop) alongEdges()
  })

  surface.addEventListener('pointerdown', (event) => {
    const target = /** @type {Element} */ (event.target)
    const element = /** @type {HTMLElement | null} */ (target.closest('.note'))
    const id = element?.dataset.id
    const note = id === undefined ? undefined : noteOf(id)
    if (event.button !== 0 || grip !== undefined || note === undefined || target.closest('textarea')) return
    if (element === null || id === undefined) return
    // Whatever the arrow keys had hold of is put down.
    finish(true)
    const at = onSheet(event)
    grip = { id, pointer: event.pointerId, x: event.clientX, y: event.clientY,
      dx: at.x - note.x, dy: at.y - note.y, selected: isSelected(id) } // prettier-ignore
    element.setPointerCapture(event.pointerId)
  })
  surface.addEventListener('pointermove', (event) => {
    if (grip === undefined || event.pointerId !== grip.pointer) return
    last = { x: event.clientX, y: event.clientY }
    if (own === undefined && Math.hypot(last.x - grip.x, last.y - grip.y) < DRAG_PX) return
    if (own === undefined) begin(grip.id)
    follow()
    alongEdges()
  })
  surface.addEventListener('pointerup', (event) => {
    if (grip === undefined || event.pointerId !== grip.pointer) return
    const { id, selected } = grip
    grip = undefined
    if (own === undefined) clicked(id, selected)
    else finish(true)
  })
  const giveUp = () => {
    grip = undefined
    finish(false)
  }
  surface.addEventListener('pointercancel', (event) => {
    if (event.pointerId === grip?.pointer) giveUp()
  })

  return {
    /** Where a note is on its way, if it is. @param {string} id */
    placeOf: (id) => (own?.id === id ? own : held.get(id)),
    /** @param {string} id */
    isOwn: (id) => own?.id === id,
    /** The client that is moving a note, if another is. @param {string} id */
    holderOf: (id) => held.get(id)?.client,
    /** An arrow key on a focused note: answers whether it was one. @param {string} id @param {KeyboardEvent} event */
    key: (id, event) => {
      const way = ARROWS.get(event.key)
      if (way === undefined || grip !== undefined) return false
      if (own === undefined) begin(id)
      const step = event.shiftKey ? FINE_STEP_PX : STEP_PX
      if (own !== undefined) moveTo(own.x + way.x * step, own.y + way.y * step)
      return true
    },
    /** The arrow key is up, or the focus went elsewhere: the note stays where it is. */
    keyUp: () => {
      if (grip === undefined) finish(true)
    },
    giveUp,
    /** A note is gone, and with it whatever was being done to it. @param {string} id */
    forget: (id) => {
      if (own?.id === id) giveUp()
      letGo(id)
    },
  }
}
