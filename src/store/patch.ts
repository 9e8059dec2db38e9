/**
 * What a change wrote, and whether two changes meet: the rules of conflict.
 *
 * Promises: pure; `conflicts` costs about the smaller of the two changes times its depth, not their product.
 * It does not apply patches (tree.ts) nor make them (difference.ts).
 */
import { escapeToken, isForbiddenKey } from '../protocol/json.js'
import type { Patch } from '../protocol/replication.js'

/**
 * What a patch wrote on the state it was applied to. As a `mutate` and as a commit an append means different things:
 * in a mutate it meets only writes of the array or above it; in a commit it writes the index it got and all higher ones.
 */
export interface Writes {
  /** Pointers written exactly. An insertion or removal in an array writes the array itself. */
  readonly paths: ReadonlySet<string>
  /** Arrays appended to by `/-`, with the lowest index that an append got. */
  readonly appends: ReadonlyMap<string, number>
}

export const emptyWrites: Writes = { paths: new Set(), appends: new Map() }

/** Collects writes while a patch is made or applied. */
export class WritesBuilder implements Writes {
  readonly paths = new Set<string>()
  readonly appends = new Map<string, number>()

  append(array: string, index: number): void {
    const lowest = this.appends.get(array)
    if (lowest === undefined || index < lowest) this.appends.set(array, index)
  }
}

/** What two changes write together: the first itself, where the second adds nothing. */
export function together(first: Writes, second: Writes): Writes {
  const adds =
    [...second.paths].some((path) => !first.paths.has(path)) ||
    [...second.appends].some(([array, index]) => (first.appends.get(array) ?? Infinity) > index)
  if (!adds) return first
  const both = new WritesBuilder()
  for (const { paths, appends } of [first, second]) {
    for (const path of paths) both.paths.add(path)
    for (const [array, index] of appends) both.append(array, index)
  }
  return both
}

/** What a patch writes at most, for one that fits no state at hand: whatever may be an array is taken for one. */
export function atMost(patch: Patch): Writes {
  const writes = new WritesBuilder()
  for (const { op, path } of patch) {
    writes.paths.add(path)
    const end = path.lastIndexOf('/')
    const last = path.slice(end + 1)
    if (op !== 'replace' && end !== -1 && (last === '-' || parseIndex(last) !== undefined)) {
      writes.paths.add(path.slice(0, end))
    }
  }
  return writes
}

/** The tokens of a JSON pointer (RFC 6901), or undefined where it is none or names a prototype. */
export function parsePointer(path: string): string[] | undefined {
  if (path === '') return []
  if (!path.startsWith('/')) return undefined
  const tokens = path.slice(1).split('/')
  for (const [i, token] of tokens.entries()) {
    if (token.includes('~')) {
      if (/~(?![01])/.test(token)) return undefined
      tokens[i] = token.replaceAll('~1', '/').replaceAll('~0', '~')
    }
    if (isForbiddenKey(tokens[i] as string)) return undefined
  }
  return tokens
}

export const pointerTo = (parent: string, key: string | number): string =>
  typeof key === 'number' ? `${parent}/${key}` : `${parent}/${escapeToken(key)}`

/** An array index in its one spelling, or undefined. */
export function parseIndex(token: string): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(token)) return undefined
  return Number(token)
}

/** The index of a pointer's step right below `array`, where that step is an index. */
function indexBelow(array: string, path: string): number | undefined {
  const end = path.indexOf('/', array.length + 1)
  return parseIndex(path.slice(array.length + 1, end === -1 ? undefined : end))
}

/** Calls `visit` with every proper prefix of a pointer, the shortest first, until it answers true. */
function somePrefix(path: string, visit: (prefix: string) => boolean): boolean {
  if (path === '') return false
  for (let end = 0; end !== -1; end = path.indexOf('/', end + 1)) {
    if (visit(path.slice(0, end))) return true
  }
  return false
}

const atOrAbove = (paths: ReadonlySet<string>, path: string): boolean =>
  paths.size > 0 && (paths.has(path) || somePrefix(path, (prefix) => paths.has(prefix)))

/** Every proper prefix of the written paths, with the highest index written below it. Made once, when first asked for. */
const closures = new WeakMap<ReadonlySet<string>, Map<string, number>>()
function closureOf(paths: ReadonlySet<string>): Map<string, number> {
  const known = closures.get(paths)
  if (known !== undefined) return known
  const closure = new Map<string, number>()
  for (const path of paths) {
    somePrefix(path, (prefix) => {
      closure.set(prefix, Math.max(closure.get(prefix) ?? -1, indexBelow(prefix, path) ?? -1))
      return false
    })
  }
  closures.set(paths, closure)
  return closure
}

/**
 * A commit of no more paths than this is looked through path by path, against what is prepared of the mutate: one mutate
 * meets thousands of commits, and most of them are small.
 */
const SMALL_COMMIT_PATHS = 16

/** Whether a path of one is equal to, above or below a path of the other. */
function exactMeet(mutate: ReadonlySet<string>, committed: ReadonlySet<string>): boolean {
  const commitIsFew = committed.size <= Math.max(mutate.size, SMALL_COMMIT_PATHS)
  const [few, many] = commitIsFew ? [committed, mutate] : [mutate, committed]
  if (few.size === 0 || many.size === 0) return false
  const below = closureOf(many)
  for (const path of few) if (below.has(path) || atOrAbove(many, path)) return true
  return false
}

/** Whether a mutate that wrote `mutate` conflicts with a commit that wrote `committed` after the mutate's base. */
export function conflicts(mutate: Writes, committed: Writes): boolean {
  if (exactMeet(mutate.paths, committed.paths)) return true
  for (const array of mutate.appends.keys()) {
    if (atOrAbove(committed.paths, array)) return true
    // The mutate's array lies in an element that the commit appended.
    const inside = (above: string) => (committed.appends.get(above) ?? Infinity) <= (indexBelow(above, array) ?? -1)
    if (committed.appends.size > 0 && somePrefix(array, inside)) return true
  }
  if (mutate.paths.size === 0) return false
  for (const [array, index] of committed.appends) {
    if (atOrAbove(mutate.paths, array)) return true
    if ((closureOf(mutate.paths).get(array) ?? -1) >= index) return true
  }
  return false
}

/** Whether a mutate writes at, above or below what an own unanswered emit predicted (appends meet as in `conflicts`). */
export const overlaps = (a: Writes, b: Writes): boolean => conflicts(a, b) || conflicts(b, a)

/** What listeners are told: the pointers written by all of these, without those below another; appends end in `/-`. */
export function pathsOf(...writes: readonly Writes[]): string[] {
  const all = new Set<string>()
  for (const { paths, appends } of writes) {
    for (const path of paths) all.add(path)
    for (const array of appends.keys()) all.add(`${array}/-`)
  }
  return [...all].filter((path) => !somePrefix(path, (prefix) => all.has(prefix)))
}
