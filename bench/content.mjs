/** What is sent: the same for every contender, and the same each time. */
import { seeded } from './statistics.mjs'

const SYLLABLES = 'ba con der el fu gra hi in jo ker la men nor o pre qui ra ste tion un ver wal xi yon zu'.split(' ')
const WORDS = makeWords(3_000)

/** Of one to four syllables, the common ones short, as in a language. */
function makeWords(count) {
  const random = seeded(7)
  const pick = () => SYLLABLES[Math.floor(random() * SYLLABLES.length)]
  return Array.from({ length: count }, (_, rank) => {
    const syllables = 1 + Math.floor(random() * (rank < 100 ? 2 : 4))
    return Array.from({ length: syllables }, pick).join('')
  })
}

/** Some words far more often than others, as in a text: what compresses it is not one repeated line. */
export function text(random, characters) {
  let made = ''
  while (made.length < characters) made += `${WORDS[Math.floor(WORDS.length * random() ** 3)]} `
  return made.slice(0, characters)
}

function note(random, number) {
  return {
    id: `note-${String(number).padStart(7, '0')}`,
    title: text(random, 15 + Math.floor(random() * 40)).trim(),
    tags: Array.from({ length: Math.floor(random() * 4) }, () => WORDS[Math.floor(random() * 60)]),
    position: { x: Math.round(random() * 4000), y: Math.round(random() * 3000) },
    done: random() < 0.3,
    body: text(random, 200 + Math.floor(random() * 200)),
  }
}

/** A board of notes with about so many megabytes of JSON: half of them by id, half in an archive that is a list. */
export function boardOf(megabytes) {
  const random = seeded(megabytes)
  const [notes, archive] = [{}, []]
  for (let bytes = 0, number = 0; bytes < megabytes * 1e6; number++) {
    const made = note(random, number)
    bytes += JSON.stringify(made).length + (number % 2 === 0 ? 16 : 1)
    if (number % 2 === 0) notes[made.id] = made
    else archive.push(made)
  }
  return { title: 'A board', hits: 0, notes, archive }
}

/** Items by key, or in an array. */
export function itemsOf(count, shape) {
  const list = Array.from({ length: count }, (_, number) => ({ title: `Item ${number}`, count: 0, done: false }))
  return { items: shape === 'array' ? list : Object.fromEntries(list.map((item, number) => [keyOf(number), item])) }
}

export const keyOf = (number) => `item-${String(number).padStart(6, '0')}`

/** What a small event carries. */
export const REMARK = text(seeded(3), 100)

/** A session description as engines make them for one data channel, about 600 characters. */
export const descriptionOf = (type) => ({ type, sdp: text(seeded(5), 600) })
