// @ts-check
/**
 * Who is here, under which name and in which ink, and where they point. A person is known by the client number that the
 * master stamps on what they send, never by what they say they are.
 */
import { INKS, MAX_NAME_CHARACTERS, clip } from '../store.js'
import { byId, perFrame } from './frame.js'

/** What does not fit is said as a number. */
const MAX_SHOWN = 8
/** A pointer that has rested this long is no longer pointing. */
const CURSOR_MILLISECONDS = 20_000
const BIRDS = ['Wren', 'Heron', 'Finch', 'Plover', 'Swift', 'Owl', 'Lark', 'Tern', 'Dunlin', 'Robin', 'Siskin', 'Crane']

/**
 * @typedef {import('../store.js').Board} Board
 * @typedef {{ element: HTMLElement, timer: number }} Cursor
 * @param {{ slave: import('named-master').Slave, change: (event: string, payload: unknown) => void,
 *   scroller: HTMLElement, surface: HTMLElement }} page
 */
export function showPeople({ slave, change, scroller, surface }) {
  const input = /** @type {HTMLInputElement} */ (byId('name'))
  const list = byId('people')
  /** @type {number | undefined} */
  let mine
  let ink = stored('sessionStorage', 'board-ink')
  /** @type {Map<number, Cursor>} */
  const cursors = new Map()
  const layer = document.createElement('div')
  layer.className = 'cursors'
  layer.setAttribute('aria-hidden', 'true')
  surface.append(layer)

  // A name that was given is kept for all windows; until then each window is a bird of its own.
  input.value = stored('localStorage', 'board-name') || stored('sessionStorage', 'board-bird') || pick(BIRDS)
  keep('sessionStorage', 'board-bird', input.value)

  /** Said on every connection, because the master strikes off whose link has ended. */
  const hello = () => {
    if (!INKS.includes(ink)) {
      ink = leastUsed(slave.getState())
      keep('sessionStorage', 'board-ink', ink)
    }
    byId('me').dataset.ink = ink
    change('hello', { name: clip(input.value.trim(), MAX_NAME_CHARACTERS), ink })
  }
  slave.on('hello', (_state, _payload, info) => {
    if (info.phase === 'predict' || info.phase === 'rerun') mine = info.origin?.client
  })
  const rename = () => {
    keep('localStorage', 'board-name', input.value.trim())
    if (slave.getState() !== undefined) hello()
  }
  input.addEventListener('change', rename)
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') input.blur()
  })

  /** @param {number | undefined} client */
  const personOf = (client) => (client === undefined ? undefined : slave.getState()?.people[client])

  let listed = ''
  const renderList = (/** @type {Board} */ state) => {
    const others = Object.entries(state.people).filter(([client]) => Number(client) !== mine)
    const now = JSON.stringify(others)
    if (now === listed) return
    listed = now
    const items = others.slice(0, MAX_SHOWN).map(([, person]) => {
      const item = document.createElement('li')
      item.dataset.ink = person.ink
      item.dataset.initial = [...person.name][0] ?? ''
      item.title = person.name
      const name = document.createElement('span')
      name.textContent = person.name
      item.append(name)
      return item
    })
    if (others.length > MAX_SHOWN) {
      const rest = document.createElement('li')
      rest.className = 'rest'
      rest.textContent = `+${others.length - MAX_SHOWN}`
      items.push(rest)
    }
    list.replaceChildren(...items)
  }

  const hide = (/** @type {number} */ client) => {
    const cursor = cursors.get(client)
    if (cursor === undefined) return
    clearTimeout(cursor.timer)
    cursor.element.remove()
    cursors.delete(client)
  }
  slave.on('cursor', (state, /** @type {any} */ payload, info) => {
    const client = info.origin?.client
    const person = client === undefined ? undefined : state.people[client]
    if (client === undefined || client === mine || person === undefined) return
    if (!Number.isFinite(payload?.x) || !Number.isFinite(payload?.y)) return hide(client)
    let cursor = cursors.get(client)
    if (cursor === undefined) {
      cursors.set(client, (cursor = { element: drawCursor(), timer: 0 }))
      layer.append(cursor.element)
    }
    clearTimeout(cursor.timer)
    cursor.timer = window.setTimeout(() => hide(client), CURSOR_MILLISECONDS)
    cursor.element.style.transform = `translate(${payload.x}px, ${payload.y}px)`
    label(cursor.element, person)
  })

  /** @type {{ x: number, y: number } | Record<string, never>} */
  let pointer = {}
  const point = perFrame(() => {
    if (slave.status === 'connected') slave.volatile.emit('cursor', pointer)
  })
  scroller.addEventListener('pointermove', (event) => {
    const sheet = surface.getBoundingClientRect()
    pointer = { x: Math.round(event.clientX - sheet.left), y: Math.round(event.clientY - sheet.top) }
    point()
  })
  const away = (/** @type {PointerEvent} */ event) => {
    if (event.type !== 'pointerleave' && event.pointerType === 'mouse') return
    pointer = {}
    point()
  }
  for (const end of /** @type {const} */ (['pointerleave', 'pointerup', 'pointercancel'])) {
    scroller.addEventListener(end, away)
  }

  return {
    hello,
    personOf,
    render: (/** @type {Board} */ state) => {
      renderList(state)
      for (const [client, cursor] of cursors) {
        const person = state.people[client]
        if (person === undefined) hide(client)
        else label(cursor.element, person)
      }
    },
  }
}

/** @param {HTMLElement} element @param {import('../store.js').Person} person */
function label(element, person) {
  element.dataset.ink = person.ink
  const name = element.querySelector('span')
  if (name !== null && name.textContent !== person.name) name.textContent = person.name
}

function drawCursor() {
  const element = document.createElement('div')
  element.className = 'cursor'
  const arrow = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  arrow.setAttribute('viewBox', '0 0 20 20')
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', 'M2 1l4.5 16 3.2-6.6L16.5 8z')
  arrow.append(path)
  element.append(arrow, document.createElement('span'))
  return element
}

/** @param {Board | undefined} state */
function leastUsed(state) {
  const taken = Object.values(state?.people ?? {}).map((person) => person.ink)
  const uses = (/** @type {string} */ one) => taken.filter((other) => other === one).length
  return INKS.reduce((best, one) => (uses(one) < uses(best) ? one : best))
}

/** @template T @param {readonly T[]} from */
const pick = (from) => /** @type {T} */ (from[Math.floor(Math.random() * from.length)])

// A browser may forbid both storages; then a name lasts as long as its window.
/** @param {'localStorage' | 'sessionStorage'} storage @param {string} key */
function stored(storage, key) {
  try {
    return window[storage].getItem(key) ?? ''
  } catch {
    return ''
  }
}
/** @param {'localStorage' | 'sessionStorage'} storage @param {string} key @param {string} value */
function keep(storage, key, value) {
  try {
    window[storage].setItem(key, value)
  } catch {
    // As above.
  }
}
