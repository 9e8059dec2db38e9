/**
 * The patch between the state before and after a transaction.
 *
 * Promises: costs as much as what changed, skipping what is identical; a wide container is entered only by its record.
 * A patch holds no container that may still change in place. An insertion or removal in an array is one operation per
 * element; elements that were only made anew say nothing. At most MAX_OPERATIONS operations, and no pointer beyond
 * MAX_POINTER_CHARACTERS.
 * It does not promise the shortest patch of all.
 */
import type { JsonValue } from '../protocol/json.js'
import { MAX_OPERATIONS, MAX_POINTER_CHARACTERS, type Operation, type Patch } from '../protocol/replication.js'
import { ABSENT, isArray, isContainer, type Container, type JsonObject, type Ledger } from './ledger.js'
import { pointerTo, type WritesBuilder } from './patch.js'

/**
 * Insertions and removals in one array, beyond which it is replaced if they are also more than half of its elements:
 * each moves what is behind it, and by the rules of conflict they write the whole array anyway.
 */
const FEW_STRUCTURAL_OPERATIONS = 16

/** The parts of a patch, each with what it writes: a pointer, or an array and the index appended at. */
interface Step {
  readonly operation: Operation
  readonly writes: string
  readonly appended: number | undefined
}

export interface Difference {
  readonly patch: Patch
  /** Containers that are part of the patch from now on. */
  readonly left: ReadonlySet<Container>
}

export function difference(
  ledger: Ledger,
  before: JsonValue | undefined,
  after: JsonValue | undefined,
  writes: WritesBuilder,
): Difference {
  const comparison = new Comparison(ledger)
  if (before === undefined ? after !== undefined : after === undefined) {
    if (after === undefined)
      comparison.steps.push({ operation: { op: 'remove', path: '' }, writes: '', appended: undefined })
    else comparison.write('add', '', after, '')
  } else if (after !== undefined) {
    comparison.compare(before as JsonValue, after, '')
  }
  for (const step of comparison.steps) {
    if (step.appended === undefined) writes.paths.add(step.writes)
    else writes.append(step.writes, step.appended)
  }
  const left = new Set<Container>()
  const seal = (value: JsonValue) => sealed(value, ledger, left)
  return { patch: comparison.steps.map(({ operation }) => sealOperation(operation, seal)), left }
}

const sealOperation = (operation: Operation, seal: (value: JsonValue) => JsonValue): Operation =>
  operation.op === 'remove' ? operation : { ...operation, value: seal(operation.value) }

/** The value as the patch may keep it: what the tree changes in place is copied, all else will not change any more. */
function sealed(value: JsonValue, ledger: Ledger, left: Set<Container>): JsonValue {
  if (!isContainer(value)) return value
  const copyOf = (): Container => (isArray(value) ? value.slice() : { ...value })
  let result = ledger.isOwned(value) ? copyOf() : value
  const visit = (child: JsonValue, put: (inner: JsonValue) => void) => {
    const inner = sealed(child, ledger, left)
    if (inner === child) return
    if (result === value) result = copyOf()
    put(inner)
  }
  if (isArray(value)) value.forEach((child, i) => visit(child, (inner) => ((result as JsonValue[])[i] = inner)))
  else
    for (const key of Object.keys(value))
      visit(value[key] as JsonValue, (inner) => ((result as JsonObject)[key] = inner))
  left.add(result)
  return result
}

/** What is left of two arrays between a common head and a common tail. */
interface Stretch {
  readonly head: number
  readonly oldEnd: number
  readonly newEnd: number
}

function trim(
  before: readonly JsonValue[],
  after: readonly JsonValue[],
  stretch: Stretch,
  same: (before: JsonValue, after: JsonValue) => boolean,
): Stretch {
  let { head, oldEnd, newEnd } = stretch
  while (head < oldEnd && head < newEnd && same(before[head] as JsonValue, after[head] as JsonValue)) head++
  while (oldEnd > head && newEnd > head && same(before[oldEnd - 1] as JsonValue, after[newEnd - 1] as JsonValue)) {
    oldEnd--
    newEnd--
  }
  return { head, oldEnd, newEnd }
}

class Comparison {
  readonly steps: Step[] = []
  readonly #ledger: Ledger
  /** Containers that were changed in place. */
  readonly #records: number
  /** Whether a pointer was too long since a container was entered whose own is not. */
  #overlong = false

  constructor(ledger: Ledger) {
    this.#ledger = ledger
    this.#records = ledger.arrayRecords.size + ledger.objectRecords.size
  }

  write(op: 'add' | 'replace', path: string, value: JsonValue, writes: string, appended?: number): void {
    this.#step({ op, path, value }, writes, appended)
  }

  #remove(path: string, writes: string): void {
    this.#step({ op: 'remove', path }, writes, undefined)
  }

  #step(operation: Operation, writes: string, appended: number | undefined): void {
    this.steps.push({ operation, writes, appended })
    if (operation.path.length > MAX_POINTER_CHARACTERS) this.#overlong = true
  }

  /** Same identity, and not changed in place: then nothing below it changed either. */
  #identical(before: JsonValue, after: JsonValue): boolean {
    return before === after && !(this.#records > 0 && isContainer(before) && this.#ledger.recorded(before))
  }

  compare(before: JsonValue, after: JsonValue, path: string): void {
    if (this.#identical(before, after)) return
    const start = this.steps.length
    if (!isContainer(before) || !isContainer(after) || isArray(before) !== isArray(after)) {
      this.write('replace', path, after, path)
      return
    }
    if (before === after) this.#compareRecorded(after, path)
    else if (isArray(before)) this.#compareArrays(this.#ledger.before(before), after as JsonValue[], path)
    else this.#compareObjects(this.#ledger.before(before), after as JsonObject, path)
    const overlong = this.#overlong && path.length <= MAX_POINTER_CHARACTERS
    if (overlong || this.steps.length - start > MAX_OPERATIONS) this.#replaceFrom(start, path, after)
  }

  #replaceFrom(start: number, path: string, after: JsonValue): void {
    this.steps.length = start
    this.#overlong = false
    this.write('replace', path, after, path)
  }

  #compareRecorded(container: Container, path: string): void {
    if (!isArray(container)) {
      for (const [key, before] of this.#ledger.objectRecords.get(container)?.entries ?? []) {
        this.#compareEntry(before, Object.hasOwn(container, key) ? (container[key] as JsonValue) : ABSENT, key, path)
      }
      return
    }
    const record = this.#ledger.arrayRecords.get(container)
    if (record === undefined) return
    if (record.content !== undefined) {
      this.#compareArrays(record.content, container, path)
      return
    }
    for (const [index, before] of record.entries) {
      if (index < container.length) this.compare(before, container[index] as JsonValue, pointerTo(path, index))
    }
    for (let i = record.lengthBefore; i > container.length; i--) this.#remove(pointerTo(path, i - 1), path)
    for (let i = record.lengthBefore; i < container.length; i++) this.#add(container, i, i, path)
  }

  /** Adds element `index` to an array that has `length` elements by then. */
  #add(array: readonly JsonValue[], index: number, length: number, path: string): void {
    const value = array[index] as JsonValue
    if (index === length) this.write('add', `${path}/-`, value, path, index)
    else this.write('add', pointerTo(path, index), value, path)
  }

  #compareObjects(before: JsonObject, after: JsonObject, path: string): void {
    for (const key of Object.keys(before)) {
      const value = Object.hasOwn(after, key) ? (after[key] as JsonValue) : ABSENT
      this.#compareEntry(before[key] as JsonValue, value, key, path)
    }
    for (const key of Object.keys(after)) {
      if (!Object.hasOwn(before, key)) this.#compareEntry(ABSENT, after[key] as JsonValue, key, path)
    }
  }

  #compareEntry(before: JsonValue | typeof ABSENT, after: JsonValue | typeof ABSENT, key: string, path: string): void {
    if (before === ABSENT) {
      const pointer = pointerTo(path, key)
      if (after !== ABSENT) this.write('add', pointer, after, pointer)
    } else if (after === ABSENT) {
      const pointer = pointerTo(path, key)
      this.#remove(pointer, pointer)
    } else if (!this.#identical(before, after)) {
      this.compare(before, after, pointerTo(path, key))
    }
  }

  #compareArrays(before: readonly JsonValue[], after: JsonValue[], path: string): void {
    // No container below could have been changed in place: then identity is all there is to ask.
    const plain = this.#records === (this.#ledger.recorded(after) ? 1 : 0)
    const whole = { head: 0, oldEnd: before.length, newEnd: after.length }
    let middle = trim(before, after, whole, plain ? (a, b) => a === b : (a, b) => this.#identical(a, b))
    if (before.length !== after.length) {
      middle = trim(before, after, middle, (a, b) => this.#equal(a, b))
    } else if (!this.#moved(before, after, middle)) {
      for (let i = middle.head; i < middle.newEnd; i++) {
        this.compare(before[i] as JsonValue, after[i] as JsonValue, pointerTo(path, i))
      }
      return
    }
    this.#alignArrays(before, after, middle, path)
  }

  /** An element's identity across the transaction: a fresh copy stands for what it is a copy of. */
  #identity(value: JsonValue): JsonValue {
    return isContainer(value) ? (this.#ledger.fresh.get(value) ?? value) : value
  }

  /** Whether a container changed its place between two stretches of one length. */
  #moved(before: readonly JsonValue[], after: readonly JsonValue[], { head: from, newEnd: end }: Stretch): boolean {
    if (end - from < 2) return false
    const places = new Map<JsonValue, number>()
    for (let i = from; i < end; i++) {
      const value = before[i] as JsonValue
      if (isContainer(value)) places.set(value, i)
    }
    if (places.size === 0) return false
    for (let i = from; i < end; i++) {
      const place = places.get(this.#identity(after[i] as JsonValue))
      if (place !== undefined && place !== i) return true
    }
    return false
  }

  /** Walks two stretches and catches up where an element was inserted, removed or moved. */
  #alignArrays(before: readonly JsonValue[], after: readonly JsonValue[], middle: Stretch, path: string): void {
    const start = this.steps.length
    const { head, newEnd: end } = middle
    const old = before.slice(head, middle.oldEnd)
    const whole = after.length
    const oldPlaces = new Map(old.map((value, i) => [value, i]))
    const newPlaces = new Map<JsonValue, number>()
    for (let j = head; j < end; j++) newPlaces.set(this.#identity(after[j] as JsonValue), j)
    let structural = 0
    let i = 0
    let j = head
    while (i < old.length || j < end) {
      const [from, to] = [old[i] as JsonValue, after[j] as JsonValue]
      // How far ahead the other's element is; negative where it is not.
      const insertions = i < old.length ? (newPlaces.get(from) ?? -1) - j : Infinity
      const removals = j < end ? (oldPlaces.get(this.#identity(to)) ?? -1) - i : Infinity
      const both = i < old.length && j < end
      if (both && (from === this.#identity(to) || (insertions < 0 && removals < 0))) {
        this.compare(from, to, pointerTo(path, j))
        i++
        j++
      } else if (i >= old.length || (both && insertions >= 0 && (removals < 0 || insertions <= removals))) {
        const length = end === whole && i >= old.length ? j : whole
        if (length !== j) structural++
        this.#add(after, j, length, path)
        j++
      } else {
        structural++
        this.#remove(pointerTo(path, j), path)
        i++
      }
    }
    if (structural > FEW_STRUCTURAL_OPERATIONS && structural * 2 > whole) this.#replaceFrom(start, path, after)
  }

  /** Deep equality that does not take a container changed in place for what it was. */
  #equal(before: JsonValue, after: JsonValue): boolean {
    if (before === after || !isContainer(before) || !isContainer(after)) return this.#identical(before, after)
    if (this.#ledger.recorded(before) || isArray(before) !== isArray(after)) return false
    const keys = Object.keys(before)
    const [left, right] = [before as JsonObject, after as JsonObject]
    if (keys.length !== Object.keys(after).length) return false
    return keys.every(
      (key) => Object.hasOwn(right, key) && this.#equal(left[key] as JsonValue, right[key] as JsonValue),
    )
  }
}
