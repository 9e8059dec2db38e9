// @ts-check
/** The page's elements by their ids, new ones, and the line at its edge that says what went wrong. */

/** Long enough to read two lines. */
const SAID_MILLISECONDS = 8000

/**
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id @param {new () => E} [kind]
 * @returns {E}
 */
export function byId(id, kind) {
  const element = document.getElementById(id)
  if (element === null || (kind !== undefined && !(element instanceof kind))) {
    throw new Error(`index.html has no such element "${id}".`)
  }
  return /** @type {E} */ (element)
}

/**
 * A new element. Its text is text, whatever is in it.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {string} className @param {string} [text]
 */
export function make(tag, className, text = '') {
  const element = document.createElement(tag)
  element.className = className
  element.textContent = text
  return element
}

/** @param {unknown} error */
export const sentenceOf = (error) => (error instanceof Error ? error.message : String(error))

let timer = 0
/** Says a sentence for a while. @param {unknown} what an error, or a text */
export function say(what) {
  const said = byId('said')
  said.textContent = sentenceOf(what)
  clearTimeout(timer)
  timer = window.setTimeout(() => (said.textContent = ''), SAID_MILLISECONDS)
}
