// @ts-check
/** The list: one row a part. A row that somebody has just changed is lit for a moment. */
import { byId, make } from './element.js'

/** @typedef {import('./page.js').Part} Part */

/**
 * @param {object} actions
 * @param {(part: Part) => void} actions.edit
 * @param {(part: Part, by: number) => void} actions.step adds to its amount
 */
export function showParts({ edit, step }) {
  const list = byId('parts')
  /** @type {Map<string, { row: HTMLElement, show: (part: Part) => void }>} */
  const rows = new Map()
  /** Changed since the list was last shown. @type {Set<string>} */
  const lit = new Set()

  /** @param {Part} given */
  function newRow(given) {
    let part = given
    const row = make('li', 'part')
    row.dataset.id = part.id
    const name = make('button', 'name')
    name.type = 'button'
    name.addEventListener('click', () => edit(part))
    const place = make('span', 'place')
    const note = make('span', 'note')
    const amount = make('output', 'amount')
    const buttons = [-1, 1].map((by) => {
      const button = make('button', 'step', by < 0 ? '\u2212' : '+')
      button.type = 'button'
      button.addEventListener('click', () => step(part, by))
      return button
    })
    const [less, more] = /** @type {[HTMLButtonElement, HTMLButtonElement]} */ (buttons)
    const stepper = make('span', 'stepper')
    stepper.append(less, amount, more)
    row.append(name, place, note, stepper)

    /** @param {Part} now */
    const show = (now) => {
      part = now
      name.textContent = now.name
      place.textContent = now.place
      note.textContent = now.note
      amount.textContent = String(now.amount)
      less.setAttribute('aria-label', `One ${now.name} less`)
      more.setAttribute('aria-label', `One ${now.name} more`)
      less.disabled = now.amount === 0
      row.dataset.revision = String(now.revision)
      row.classList.toggle('none', now.amount === 0)
    }
    row.addEventListener('animationend', () => row.classList.remove('lit'))
    return { row, show }
  }

  return {
    /** @param {string[]} ids */
    changed: (ids) => ids.forEach((id) => lit.add(id)),

    /** @param {Part[]} parts @param {number} all how many there are in the database */
    show: (parts, all) => {
      const shown = new Set(parts.map(({ id }) => id))
      for (const [id, { row }] of rows) {
        if (shown.has(id)) continue
        row.remove()
        rows.delete(id)
      }
      parts.forEach((part, index) => {
        const one = rows.get(part.id) ?? newRow(part)
        rows.set(part.id, one)
        one.show(part)
        // Moved only where it has to be: what is focused stays focused.
        if (list.children[index] !== one.row) list.insertBefore(one.row, list.children[index] ?? null)
        if (lit.has(part.id)) one.row.classList.add('lit')
      })
      lit.clear()
      byId('count').textContent = parts.length === all ? `${all} in all` : `${parts.length} of ${all}`
      const empty = byId('empty')
      empty.hidden = parts.length > 0
      empty.textContent = all === 0 ? 'No parts yet. Add the first one.' : 'No part has this in its name.'
    },
  }
}
