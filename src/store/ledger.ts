/**
 * Who may be written, and what was there before: the one mechanism behind drafts, patches and undo.
 *
 * Promises: narrow containers are copied once per transaction before their first write, so that they and their
 * ancestors get a new identity. Wide ones that are the tree's own are changed in place, with a record of what was there.
 * Nothing else is ever written: not what came with a patch, not what left in one, not what was pinned.
 * Invariant: from the root down to each changed container, every container is fresh or has a record.
 * It does not know paths, drafts or patches.
 */
import type { JsonValue } from '../protocol/json.js'

export type JsonObject = Record<string, JsonValue>
export type Container = JsonValue[] | JsonObject

/**
 * Elements up to which an array is copied on change: copying and comparing this many takes about as long as the rest of
 * a transaction, 2 us; at 1,000 it would be five times that, and 8 KB of garbage (docs/decisions/state-identity.md).
 */
export const NARROW_ARRAY_ELEMENTS = 256

/**
 * Keys up to which an object is copied on change: 5 us for this many. From about 100 on V8 keeps objects as hash tables,
 * and a copy costs 0.2 us and more for each key.
 */
export const NARROW_OBJECT_KEYS = 64

export const ABSENT: unique symbol = Symbol('absent')

/** What a container changed in place had before: single entries, or for an array that was rearranged all of it. */
export interface ObjectRecord {
  readonly entries: Map<string, JsonValue | typeof ABSENT>
  readonly keysBefore: number
  keys: number
}
export interface ArrayRecord {
  readonly entries: Map<number, JsonValue>
  readonly lengthBefore: number
  content: JsonValue[] | undefined
}

export const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null
export const isArray = (value: unknown): value is JsonValue[] => Array.isArray(value)

/** Whether a value nests at most so many levels. */
export function nestsWithin(value: JsonValue, levels: number): boolean {
  if (!isContainer(value)) return true
  if (levels <= 0) return false
  return (isArray(value) ? value : Object.values(value)).every((child) => nestsWithin(child, levels - 1))
}

/** Containers the tree may change in place: wide copies of its own making; an object's number of keys. */
export type Owned = WeakMap<Container, number>

export class Ledger {
  root: JsonValue | undefined
  /** Made by this transaction, with what it is a copy of. Each may be written freely until the end. */
  readonly fresh = new Map<Container, Container | undefined>()
  readonly objectRecords = new Map<JsonObject, ObjectRecord>()
  readonly arrayRecords = new Map<JsonValue[], ArrayRecord>()
  /** Elements that a patch has moved to make room or to close a gap. */
  moved = 0
  readonly #owned: Owned
  readonly #before: JsonValue | undefined

  constructor(root: JsonValue | undefined, owned: Owned) {
    this.root = root
    this.#before = root
    this.#owned = owned
  }

  /** Whether it was changed in place by this transaction. */
  recorded(container: Container): boolean {
    return isArray(container) ? this.arrayRecords.has(container) : this.objectRecords.has(container)
  }

  isOwned(container: Container): boolean {
    return this.#owned.has(container)
  }

  /** How many keys it has: counted only where that is not known. */
  keysOf(object: JsonObject): number {
    return this.objectRecords.get(object)?.keys ?? this.#owned.get(object) ?? sizeOf(object)
  }

  /** The container to write to instead of this one: itself, or a copy, which the caller puts in its place. */
  writable<C extends Container>(container: C): C {
    if (this.fresh.has(container) || this.recorded(container)) return container
    const keys = this.#owned.get(container)
    if (keys === undefined || isNarrow(container, keys)) {
      const copy = (isArray(container) ? container.slice() : Object.assign({}, container)) as C
      this.fresh.set(copy, container)
      return copy
    }
    if (isArray(container)) {
      this.arrayRecords.set(container, { entries: new Map(), lengthBefore: container.length, content: undefined })
    } else {
      this.objectRecords.set(container, { entries: new Map(), keysBefore: keys, keys })
    }
    return container
  }

  /** Registers a container that was made for this transaction. */
  adopt(made: Container): void {
    this.fresh.set(made, undefined)
  }

  /** Sets, removes (ABSENT) or, with the value that is there, marks an entry of a writable object. */
  setKey(object: JsonObject, key: string, value: JsonValue | typeof ABSENT): void {
    const record = this.objectRecords.get(object)
    if (record !== undefined) {
      const present = Object.hasOwn(object, key)
      if (!record.entries.has(key)) record.entries.set(key, present ? (object[key] as JsonValue) : ABSENT)
      if (present !== (value !== ABSENT)) record.keys += present ? -1 : 1
    }
    if (value === ABSENT) delete object[key]
    else object[key] = value
  }

  /** Sets an element of a writable array; at its length, appends. */
  setElement(array: JsonValue[], index: number, value: JsonValue): void {
    const record = this.arrayRecords.get(array)
    if (record !== undefined) noteElement(record, array, index)
    array[index] = value
  }

  /** Shortens a writable array. */
  shorten(array: JsonValue[], length: number): void {
    const record = this.arrayRecords.get(array)
    if (array.length - length > NARROW_ARRAY_ELEMENTS) this.rearrange(array)
    else if (record !== undefined) for (let i = length; i < array.length; i++) noteElement(record, array, i)
    array.length = length
  }

  /** To be called before a writable array is changed by its own methods in any way but the two above. */
  rearrange(array: JsonValue[]): void {
    const record = this.arrayRecords.get(array)
    if (record !== undefined) record.content ??= arrayBefore(record, array)
  }

  put(container: Container, key: string | number, value: JsonValue): void {
    if (isArray(container)) this.setElement(container, Number(key), value)
    else this.setKey(container, String(key), value)
  }

  /** What a container held before this transaction. */
  before<C extends Container>(container: C): C {
    if (isArray(container)) {
      const record = this.arrayRecords.get(container)
      return record === undefined ? container : ((record.content ?? arrayBefore(record, container)) as C)
    }
    const record = this.objectRecords.get(container)
    if (record === undefined) return container
    const before: JsonObject = { ...container }
    restoreObject(record, before)
    return before as C
  }

  /** Puts everything back that was changed in place; answers the root as it was. */
  restore(): JsonValue | undefined {
    for (const [object, record] of this.objectRecords) {
      restoreObject(record, object)
      this.#owned.set(object, record.keysBefore)
    }
    for (const [array, record] of this.arrayRecords) restoreArray(record, array)
    return this.#before
  }

  /**
   * The transaction is over: its wide copies belong to the tree, except what left in the patch.
   * @param left containers of the patch: they must never change again
   */
  settle(left: ReadonlySet<Container>, freeze: boolean): void {
    for (const container of this.fresh.keys()) {
      const size = sizeOf(container)
      if (isNarrow(container, size)) {
        if (freeze) Object.freeze(container)
      } else if (!left.has(container)) {
        this.#owned.set(container, size)
      }
    }
    this.fresh.clear()
    if (freeze) for (const container of left) if (isNarrow(container, sizeOf(container))) Object.freeze(container)
    for (const [object, { keys }] of this.objectRecords) this.#owned.set(object, keys)
  }
}

const sizeOf = (container: Container): number => (isArray(container) ? container.length : Object.keys(container).length)

/** @param keys the number of an object's keys: counting them takes as long as copying a wide one */
export const isNarrow = (container: Container, keys: number): boolean =>
  isArray(container) ? container.length <= NARROW_ARRAY_ELEMENTS : keys <= NARROW_OBJECT_KEYS

function noteElement(record: ArrayRecord, array: readonly JsonValue[], index: number): void {
  if (record.content !== undefined || index >= record.lengthBefore || record.entries.has(index)) return
  record.entries.set(index, array[index] as JsonValue)
}

function restoreObject(record: ObjectRecord, object: JsonObject): void {
  for (const [key, value] of record.entries) {
    if (value === ABSENT) delete object[key]
    else object[key] = value
  }
}

/** An index at or above the length of an array that was shortened is always in the record: it was there before. */
function arrayBefore(record: ArrayRecord, array: readonly JsonValue[]): JsonValue[] {
  const before = array.slice(0, record.lengthBefore)
  for (const [index, value] of [...record.entries].sort(([a], [b]) => a - b)) before[index] = value
  return before
}

function restoreArray(record: ArrayRecord, array: JsonValue[]): void {
  const { content } = record
  if (content === undefined) {
    array.length = Math.min(array.length, record.lengthBefore)
    for (const [index, value] of [...record.entries].sort(([a], [b]) => a - b)) array[index] = value
    return
  }
  array.length = content.length
  for (let i = 0; i < content.length; i++) array[i] = content[i] as JsonValue
}

/** The value itself, which nobody can change any more. */
export function deepFreeze<T extends JsonValue | undefined>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}
