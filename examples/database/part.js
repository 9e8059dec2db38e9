// @ts-check
/** What this database keeps: parts of a garage. Yours keeps something else; this is the one file to replace. */

/** A name fits a line; a note is a paragraph. */
const MAX_TEXT_CHARACTERS = { name: 80, place: 20, note: 400 }
const MAX_AMOUNT = 999_999

/**
 * What is kept of a part. Whatever is sent beside it is left out.
 * @param {Record<string, unknown>} given from a stranger
 */
export function checkPart(given) {
  const { amount } = given
  if (!Number.isInteger(amount) || Number(amount) < 0 || Number(amount) > MAX_AMOUNT) {
    throw new Error(`An amount is a whole number from 0 to ${MAX_AMOUNT}.`)
  }
  const name = text(given, 'name')
  if (name === '') throw new Error('A part needs a name.')
  return { name, place: text(given, 'place'), amount, note: text(given, 'note') }
}

/** @param {Record<string, unknown>} given @param {keyof typeof MAX_TEXT_CHARACTERS} field */
function text(given, field) {
  const value = given[field] ?? ''
  const most = MAX_TEXT_CHARACTERS[field]
  if (typeof value !== 'string' || value.length > most)
    throw new Error(`The ${field} is a text of up to ${most} characters.`)
  return value.trim()
}
