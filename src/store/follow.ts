/**
 * From a foreign store's state to a tree of ours, and back: what changed between two states of it goes into a draft, and
 * a patch into it.
 *
 * Promises: the draft gets what of the state can travel: what cannot is left out (null in an array, as JSON.stringify
 * does) and named. Parts whose reference is the same are skipped. What the foreign store is handed is a copy.
 */
import { copyJson, isPlain, keyFault, MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import type { Operation, Patch } from '../protocol/replication.js'
import { parsePointer, pointerTo } from './patch.js'

/** What of a state cannot travel, and why. */
export interface Fault {
  readonly path: string
  readonly reason: string
}

type Key = string | number
type Container = Record<Key, unknown>

/** Brings drafts in step with the states of one foreign store. */
export class Follower {
  /** Of the latest state followed: what cannot travel. A part that was left out before and is the same is not named again. */
  faults: Fault[] = []
  /** Containers that are not in the draft though they are in the state: too deep, or inside themselves. */
  readonly #absent = new WeakSet()
  /** The keys that lead to where it is, and the containers on the way: one of them below itself is a cycle. */
  #way: Key[] = []
  #above = new Set<unknown>()

  /**
   * Makes the draft, which equals what of `before` can travel, equal to what of `after` can; answers the value that takes
   * its place altogether, if one does. A root that cannot travel changes nothing and is the one fault.
   */
  follow(draft: unknown, before: unknown, after: unknown): JsonValue | undefined {
    this.faults = []
    this.#way = []
    this.#above = new Set()
    if (!this.#alike(before, after)) return Object.is(before, after) ? undefined : this.#carried(after)
    if (before !== after) this.#inside(() => draft as Container, before as Container, after as Container)
    return undefined
  }

  /** `open` answers the draft of this container: asked for only where something is to be written. */
  #inside(open: () => Container, before: Container, after: Container): void {
    this.#above.add(after)
    if (Array.isArray(after)) {
      if ((before as unknown as unknown[]).length > after.length) (open() as unknown as unknown[]).length = after.length
      for (let i = 0; i < after.length; i++) this.#at(open, before, after, i)
    } else {
      let kept = 0
      for (const key of Object.keys(after)) if (this.#at(open, before, after, key)) kept++
      const keys = Object.keys(before)
      if (keys.length > kept) for (const key of keys) if (!Object.hasOwn(after, key)) remove(open(), key)
    }
    this.#above.delete(after)
  }

  /** Answers whether there was anything before. */
  #at(open: () => Container, before: Container, after: Container, key: Key): boolean {
    this.#way.push(key)
    const value = this.#read(after, key)
    const same = value !== undefined && before[key] === value
    const had = same || Object.hasOwn(before, key)
    const was = had ? before[key] : undefined
    if (!same && this.#alike(was, value)) {
      this.#inside(() => open()[key] as Container, was as Container, value as Container)
    } else if (!had || !Object.is(was, value)) {
      const inArray = Array.isArray(after)
      const carried = inArray || this.#keyTravels(key, value) ? this.#carried(value) : undefined
      if (carried !== undefined) open()[key] = carried
      else if (inArray) open()[key] = null
      else if (had) remove(open(), key)
    }
    this.#way.pop()
    return had
  }

  /** What of a value that is new here can travel; undefined when nothing of it can. */
  #carried(value: unknown): JsonValue | undefined {
    if (this.#above.has(value)) return this.#leaveOut(value, 'the value contains itself')
    const copied = copyJson(value, undefined, MAX_DEPTH - this.#way.length)
    if (copied.ok) return copied.value
    if (copied.path === '') return this.#leaveOut(value, copied.reason)
    // Something below it cannot: what can is taken part by part.
    const whole = value as Container
    const made: unknown = Array.isArray(whole) ? Array.from(whole, () => null) : {}
    this.#inside(() => made as Container, made as Container, whole)
    return made as JsonValue
  }

  /** Whether both are containers of one kind, and the draft has the first: then the second is followed part by part. */
  #alike(was: unknown, value: unknown): boolean {
    const kind = kindOf(value)
    return kind !== 'leaf' && kind === kindOf(was) && !this.#above.has(value) && !this.#absent.has(was as object)
  }

  #read(container: Container, key: Key): unknown {
    try {
      return container[key]
    } catch (error) {
      return this.#leaveOut(undefined, `reading it threw ${String(error)}`)
    }
  }

  /** An undefined property is absent, and no fault. */
  #keyTravels(key: Key, value: unknown): boolean {
    if (value === undefined) return false
    const reason = keyFault(String(key))
    if (reason !== undefined) this.#leaveOut(value, reason)
    return reason === undefined
  }

  #leaveOut(value: unknown, reason: string): undefined {
    if (kindOf(value) !== 'leaf') this.#absent.add(value as object)
    this.faults.push({ path: this.#way.reduce<string>(pointerTo, ''), reason })
  }
}

function kindOf(value: unknown): 'array' | 'object' | 'leaf' {
  if (typeof value !== 'object' || value === null) return 'leaf'
  return Array.isArray(value) ? 'array' : isPlain(value) ? 'object' : 'leaf'
}

function remove(container: Container, key: Key): void {
  if (Object.hasOwn(container, key)) delete container[key]
}

/**
 * The foreign state with a patch that fits: changed in place (then undefined, unless its root is another), or as a new
 * value that shares what is unchanged.
 */
export function patched(state: unknown, patch: Patch, inPlace: boolean): unknown {
  // Each container is copied once, however many operations write to it.
  const copies = inPlace ? undefined : new Set<Container>()
  let root = state
  for (const operation of patch) {
    const tokens = parsePointer(operation.path) ?? []
    root = tokens.length === 0 ? valueOf(operation) : within(root as Container, tokens, operation, copies)
  }
  return inPlace && root === state ? undefined : root
}

/** @param copies those that may be written to; undefined when all may */
function within(
  container: Container,
  [key = '', ...rest]: readonly string[],
  operation: Operation,
  copies: Set<Container> | undefined,
): Container {
  const own = writable(container, copies)
  if (rest.length > 0) own[key] = within(own[key] as Container, rest, operation, copies)
  else if (!Array.isArray(own)) {
    if (operation.op === 'remove') delete own[key]
    else own[key] = valueOf(operation)
  } else if (operation.op === 'replace') (own as unknown[])[Number(key)] = valueOf(operation)
  else if (operation.op === 'remove') (own as unknown[]).splice(Number(key), 1)
  else (own as unknown[]).splice(key === '-' ? own.length : Number(key), 0, valueOf(operation))
  return own
}

function writable(container: Container, copies: Set<Container> | undefined): Container {
  if (copies === undefined || copies.has(container)) return container
  const copy = (Array.isArray(container) ? [...container] : { ...container }) as Container
  copies.add(copy)
  return copy
}

/** A copy: what is in a patch may not be changed by a foreign program. Parsed before it came here, so it can be copied. */
function valueOf(operation: Operation): JsonValue | undefined {
  const copied = operation.op === 'remove' ? undefined : copyJson(operation.value)
  return copied?.ok === true ? copied.value : undefined
}
