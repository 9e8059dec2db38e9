/**
 * A state in pieces, for whoever is to be given a large one: each is encoded, sent and read on its own, so that neither
 * end stands still and what is urgent passes between them.
 *
 * Promises: the pieces of a state, added in order to its skeleton, are that state, with its keys in their order; what
 * does not fit is refused, and what was added before stays. A division looks at each value twice, and a step of it costs
 * about as much as its piece. It never copies a value, so the state must stay as it is until the last piece (see Tree.pin).
 */
import { NamedMasterError } from '../errors.js'
import { escapeToken, MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import { MAX_POINTER_CHARACTERS, type DownPayload } from '../protocol/replication.js'
import { isArray, isContainer, nestsWithin, type Container } from './ledger.js'
import { parseIndex, parsePointer } from './patch.js'

/** More of the container at `path`: elements to append, or members to set. */
export type Piece = Omit<DownPayload<'part'>, 'last'>

export interface Division {
  /** All of a small state; of a large one its root, empty. */
  readonly skeleton: JsonValue
  /** Undefined when the skeleton is the state. */
  readonly pieces: Generator<Piece, void, undefined> | undefined
}

/**
 * Characters of JSON in a piece, about: a fifth of a millisecond to write and half of one to read, so that nobody waits
 * for it; deflated it fits in a frame, mostly in a third of one.
 */
const PIECE_CHARACTERS = 64 * 1024

/** @param characters of a piece, about; a single value that is no container may have more */
export function divide(state: JsonValue, characters = PIECE_CHARACTERS): Division {
  if (!isContainer(state) || weigh(state, characters) <= characters) return { skeleton: state, pieces: undefined }
  return { skeleton: shellOf(state), pieces: piecesOf(state, '', characters) }
}

function* piecesOf(container: Container, path: string, characters: number): Generator<Piece, void, undefined> {
  const keys = isArray(container) ? undefined : Object.keys(container)
  const count = keys?.length ?? (container as readonly JsonValue[]).length
  for (let at = 0; at < count;) {
    const entries: [key: string | number, child: JsonValue][] = []
    const apart: [path: string, child: Container][] = []
    for (let weight = 0; at < count && weight < characters; at++) {
      const key = keys?.[at] ?? at
      const child = childAt(container, key)
      const own = weigh(child, characters)
      const below = own > characters && isContainer(child) ? `${path}/${escapeToken(String(key))}` : undefined
      // What lies too deep for a path travels with what is above it.
      if (below !== undefined && below.length <= MAX_POINTER_CHARACTERS) {
        entries.push([key, shellOf(child as Container)])
        apart.push([below, child as Container])
      } else {
        entries.push([key, child])
        weight += own
      }
    }
    yield keys === undefined
      ? { path, elements: entries.map(([, child]) => child) }
      : { path, members: Object.fromEntries(entries) }
    for (const [below, child] of apart) yield* piecesOf(child, below, characters)
  }
}

const childAt = (container: Container, key: string | number): JsonValue =>
  (container as Readonly<Record<string | number, JsonValue>>)[key] as JsonValue

const shellOf = (container: Container): Container => (isArray(container) ? [] : {})

/** About how many characters of JSON it has; stops looking at more than `limit`. */
function weigh(value: JsonValue, limit: number): number {
  if (typeof value === 'string') return value.length + 3
  if (!isContainer(value)) return 8
  let weight = 2
  if (isArray(value)) {
    for (let i = 0; i < value.length && weight <= limit; i++) weight += weigh(value[i] as JsonValue, limit - weight)
    return weight
  }
  for (const key in value) {
    if (weight > limit) break
    weight += key.length + 4 + weigh(childAt(value, key), limit - weight)
  }
  return weight
}

/** The other end: a skeleton and what came for it. Owns the skeleton and the pieces' values. */
export class Assembly {
  readonly value: JsonValue
  /** Where the last piece went: the next one mostly goes there too. */
  #path: string | undefined
  #container: Container | undefined
  #levels = 0

  constructor(skeleton: JsonValue) {
    this.value = skeleton
  }

  /** @throws invalid-message when the piece does not fit */
  add(piece: Piece): void {
    if (piece.path !== this.#path) this.#open(piece.path)
    const container = this.#container
    const { elements, members } = piece
    const content = isArray(container) ? elements : members
    if (container === undefined || content === undefined || !nestsWithin(content, this.#levels)) throw unfit(piece.path)
    if (!isArray(container)) Object.assign(container, members)
    // One by one: as arguments of one call so many could overflow the stack.
    else for (const element of elements ?? []) container.push(element)
  }

  #open(path: string): void {
    const tokens = parsePointer(path)
    let container: JsonValue | undefined = this.value
    for (const token of tokens ?? []) {
      if (container === undefined || !isContainer(container)) throw unfit(path)
      const key: string | number | undefined = isArray(container) ? parseIndex(token) : token
      container = key !== undefined && Object.hasOwn(container, key) ? childAt(container, key) : undefined
    }
    if (tokens === undefined || container === undefined || !isContainer(container)) throw unfit(path)
    this.#path = path
    this.#container = container
    this.#levels = MAX_DEPTH - tokens.length
  }
}

const unfit = (path: string): NamedMasterError =>
  new NamedMasterError('invalid-message', `The master sent a part of its state that fits nowhere, for "${path}".`)
