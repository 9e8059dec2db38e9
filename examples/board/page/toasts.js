// @ts-check
/** Short messages at the edge of the page. One goes after a while, not while somebody points at it or has it focused. */
import { byId } from './frame.js'

/** Long enough to read two lines and reach for the button. */
const SHOWN_MILLISECONDS = 8000
/** More would cover the board; the oldest goes first. */
const MAX_TOASTS = 3

/**
 * @param {string} text
 * @param {{ label: string, run: () => void }} [action]
 */
export function toast(text, action) {
  const list = byId('toasts')
  const element = document.createElement('div')
  element.className = 'toast'
  const words = document.createElement('span')
  words.textContent = text
  element.append(words)

  let timer = 0
  const close = () => {
    clearTimeout(timer)
    element.remove()
  }
  const wait = () => {
    clearTimeout(timer)
    timer = window.setTimeout(close, SHOWN_MILLISECONDS)
  }
  if (action !== undefined) {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = action.label
    button.addEventListener('click', () => {
      close()
      action.run()
    })
    element.append(button)
  }
  for (const begin of ['pointerenter', 'focusin']) element.addEventListener(begin, () => clearTimeout(timer))
  for (const finish of ['pointerleave', 'focusout']) element.addEventListener(finish, wait)
  list.append(element)
  while (list.children.length > MAX_TOASTS) list.firstElementChild?.remove()
  wait()
}

/** Says something to those who hear the page; nothing is shown. */
export function say(/** @type {string} */ text) {
  byId('spoken').textContent = text
}
