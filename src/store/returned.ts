/**
 * A state that a program returned, as the least change of the one it was given: `{ ...state, items: { ...items, x } }`
 * costs what it takes to look through it, and nothing is copied but what is new.
 *
 * Promises: all or nothing. A container that is still where it was stays, with its differences written into it; a draft
 * that was put elsewhere, and is in one place only, is taken over there; all else is copied and checked. It answers
 * false, with nothing changed, where it cannot be sure: drafts in two places, what JSON cannot carry. The door (`enter` of
 * draft-node.ts) then does the whole, and finds the words for what is wrong.
 */
import { checkJson, isPlain, keyFault, MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import type { Node, Session } from './draft-node.js'
import { ABSENT, isArray, isContainer, nestsWithin, type Container, type JsonObject, type Ledger } from './ledger.js'

/** What is to be somewhere: a value that is there already or was made, or what is there with its differences. */
type Planned = JsonValue | Revision

/** A container of the state that stays where it is, and what differs in it. */
abstract class Revision<C extends Container = Container> {
  readonly base: C
  constructor(base: C) {
    this.base = base
  }
  /** Whether this child is still in its place, as it was or with differences of its own. */
  abstract keeps(child: Node): boolean
  /** Writes the differences; answers the container that holds them. */
  abstract apply(ledger: Ledger): C
}

const applied = (planned: Planned, ledger: Ledger): JsonValue =>
  planned instanceof Revision ? planned.apply(ledger) : planned

class ObjectRevision extends Revision<JsonObject> {
  readonly edits: ReadonlyMap<string, Planned | typeof ABSENT>

  constructor(base: JsonObject, edits: ReadonlyMap<string, Planned | typeof ABSENT>) {
    super(base)
    this.edits = edits
  }

  override keeps(child: Node): boolean {
    return !this.edits.has(String(child.key))
  }

  override apply(ledger: Ledger): JsonObject {
    const object = ledger.writable(this.base)
    for (const [key, edit] of this.edits) ledger.setKey(object, key, edit === ABSENT ? ABSENT : applied(edit, ledger))
    return object
  }
}

/** Between a head and a tail that stay, other elements. */
class ArrayRevision extends Revision<JsonValue[]> {
  readonly head: number
  /** Where the tail begins in the base. */
  readonly end: number
  readonly middle: readonly Planned[]
  /** Whether each of these stands for the element that it is instead of. */
  readonly paired: boolean

  constructor(base: JsonValue[], head: number, end: number, middle: readonly Planned[], paired: boolean) {
    super(base)
    this.head = head
    this.end = end
    this.middle = middle
    this.paired = paired
  }

  override keeps({ content, key }: Node): boolean {
    const index = this.base[Number(key)] === content ? Number(key) : this.base.indexOf(content)
    return index < this.head || index >= this.end || (this.paired && this.middle[index - this.head] === content)
  }

  override apply(ledger: Ledger): JsonValue[] {
    const { base, head, end, middle } = this
    const array = ledger.writable(base)
    const { length } = array
    if (this.paired || head === length) {
      middle.forEach((planned, i) => {
        if (planned !== base[head + i]) ledger.setElement(array, head + i, applied(planned, ledger))
      })
    } else if (end === length && middle.length === 0) {
      ledger.shorten(array, head)
    } else {
      ledger.rearrange(array)
      const tail = array.slice(end)
      array.length = head
      for (const planned of middle) array.push(applied(planned, ledger))
      for (const value of tail) array.push(value)
    }
    return array
  }
}

/** Thrown where it cannot be planned; it never leaves this file. */
class Unsure extends Error {}

/** Makes what was returned the root. False: nothing was changed. The program must have changed nothing in place. */
export function revise(session: Session, returned: unknown): boolean {
  const planning = new Planning(session)
  try {
    planning.plan(returned)
  } catch (thrown) {
    if (thrown instanceof Unsure) return false
    throw thrown
  }
  planning.apply()
  return true
}

class Planning {
  readonly #session: Session
  readonly #base: JsonValue | undefined
  #root: Planned | undefined
  /** By what they are revisions of. */
  readonly #revisions = new Map<Container, Revision>()
  /** Drafts that were put elsewhere, by their content. */
  readonly #moved = new Map<Container, Node>()
  readonly #made: Container[] = []
  /** The program's containers that hold the one that is looked at. */
  readonly #above = new Set<object>()

  constructor(session: Session) {
    this.#session = session
    this.#base = session.ledger.root
  }

  plan(returned: unknown): void {
    this.#root = this.#planned(returned, this.#base, MAX_DEPTH)
    const standing = new Map<Node, boolean>()
    for (const node of this.#moved.values()) if (this.#stands(node, standing)) throw new Unsure()
  }

  apply(): void {
    const { ledger } = this.#session
    for (const container of this.#made) ledger.adopt(container)
    ledger.root = applied(this.#root as Planned, ledger)
  }

  /** @param there what the state has in this place */
  #planned(value: unknown, there: JsonValue | undefined, levels: number): Planned {
    if (!isContainer(value)) {
      if (value === there) return there as JsonValue
      if (!checkJson(value).ok) throw new Unsure()
      return value === 0 ? 0 : (value as JsonValue)
    }
    const { nodes } = this.#session
    if (isContainer(there) && nodes.get(there)?.draft === value) return there
    // Before it is asked for anything, which would make it.
    const stretch = this.#session.copies.get(value)
    if (stretch !== undefined && stretch.node.content === there) {
      return this.#replaced(stretch.node.content, stretch.start, stretch.end, stretch.values, levels)
    }
    const node = this.#session.nodeOf(value)
    if (node !== undefined) return this.#move(node, levels)
    if (levels === 0 || this.#above.has(value)) throw new Unsure()
    this.#above.add(value)
    const planned = isArray(value)
      ? this.#plannedArray(value, isArray(there) ? there : undefined, levels)
      : this.#plannedObject(value, isContainer(there) && !isArray(there) ? there : undefined, levels)
    this.#above.delete(value)
    return planned
  }

  /** A draft that was put where it was not. */
  #move(node: Node, levels: number): JsonValue {
    const { content } = node
    const fits = MAX_DEPTH - levels <= node.depth || nestsWithin(content, levels)
    if (this.#moved.has(content) || !fits) throw new Unsure()
    this.#moved.set(content, node)
    return content
  }

  #plannedObject(value: object, base: JsonObject | undefined, levels: number): Planned {
    if (!isPlain(value)) throw new Unsure()
    const edits = new Map<string, Planned | typeof ABSENT>()
    let kept = 0
    for (const key of Object.keys(value)) {
      const child = read(value, key)
      if (child === undefined) continue
      const there = base !== undefined && Object.hasOwn(base, key) ? base[key] : undefined
      const planned = this.#planned(child, there, levels - 1)
      if (there !== undefined) kept++
      else if (keyFault(key) !== undefined) throw new Unsure()
      if (planned !== there) edits.set(key, planned)
    }
    if (base === undefined) return this.#make(Object.fromEntries(edits) as JsonObject)
    if (kept < this.#session.ledger.keysOf(base)) {
      for (const key of Object.keys(base)) {
        if (!edits.has(key) && !(Object.hasOwn(value, key) && read(value, key) !== undefined)) edits.set(key, ABSENT)
      }
    }
    return edits.size === 0 ? base : this.#revised(new ObjectRevision(base, edits))
  }

  #plannedArray(value: readonly unknown[], base: JsonValue[] | undefined, levels: number): Planned {
    const plain = (child: unknown) => this.#planned(child, undefined, levels - 1) as JsonValue
    if (base === undefined) return this.#make(Array.from(value, plain))
    const same = (i: number, j: number): boolean => this.#same(value[i], base[j] as JsonValue)
    const shorter = Math.min(value.length, base.length)
    let head = 0
    while (head < shorter && same(head, head)) head++
    let tail = 0
    while (tail < shorter - head && same(value.length - 1 - tail, base.length - 1 - tail)) tail++
    const others = value.slice(head, value.length - tail)
    return this.#replaced(base, head, base.length - tail, others, levels)
  }

  /** An array of the state with other values from `head` to `end`. */
  #replaced(base: JsonValue[], head: number, end: number, values: readonly unknown[], levels: number): Planned {
    const paired =
      values.length === end - head &&
      values.every((value, i) => this.#same(value, base[head + i] as JsonValue) || !this.#isDraft(value))
    const middle = values.map((value, i) => this.#planned(value, paired ? base[head + i] : undefined, levels - 1))
    // What was only made anew is what was there.
    if (paired && middle.every((planned, i) => planned === base[head + i])) return base
    return this.#revised(new ArrayRevision(base, head, end, middle, paired))
  }

  #same(value: unknown, there: JsonValue): boolean {
    return isContainer(there) ? this.#session.nodes.get(there)?.draft === value : value === there
  }

  #isDraft(value: unknown): boolean {
    return isContainer(value) && this.#session.nodeOf(value) !== undefined
  }

  #make<C extends Container>(made: C): C {
    this.#made.push(made)
    return made
  }

  #revised(revision: Revision): Revision {
    this.#revisions.set(revision.base, revision)
    return revision
  }

  /** Whether a draft that was put elsewhere is in its old place too, or in something that was itself put elsewhere. */
  #stands(node: Node, known: Map<Node, boolean>): boolean {
    if (this.#revisions.has(node.content)) return true
    const { parent } = node
    if (parent === undefined) return this.#root === node.content
    const revision = this.#revisions.get(parent.content)
    if (revision !== undefined) return revision.keeps(node)
    let stands = known.get(parent)
    if (stands === undefined) {
      stands = this.#moved.has(parent.content) || this.#stands(parent, known)
      known.set(parent, stands)
    }
    return stands
  }
}

/** A getter that throws is a matter for the door. */
function read(value: object, key: string): unknown {
  try {
    return (value as Record<string, unknown>)[key]
  } catch {
    throw new Unsure()
  }
}
