/**
 * The only data that travels: JSON, with limits.
 *
 * Promises: what passes `checkJson` or `copyJson` survives a round trip through JSON text unchanged (key order apart),
 * nests at most MAX_DEPTH levels and has no key that could change a prototype. Neither throws; both name the path.
 */

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue }

/** Levels of nesting. JSON.stringify and structuredClone overflow the stack near 10,000; documents rarely pass 20. */
export const MAX_DEPTH = 128

/** Keys through which an assignment can reach a prototype (see the pollution history of RFC 6902 libraries). */
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

export const isForbiddenKey = (key: string): boolean => FORBIDDEN_KEYS.has(key)

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly path: string; readonly reason: string }

const fail = (path: string, reason: string) => ({ ok: false, path, reason }) as const

/** One token of a JSON pointer (RFC 6901 section 3). */
export const escapeToken = (token: string): string =>
  token.includes('~') || token.includes('/') ? token.replaceAll('~', '~0').replaceAll('/', '~1') : token

/** No lone surrogate: such a text has no UTF-8, and other languages cannot read it. */
export const isWellFormed = (text: string): boolean => {
  // ES2024's method where the engine has it: it is free for one-byte strings.
  const native = (text as { isWellFormed?: () => boolean }).isWellFormed
  return native === undefined ? !/\p{Surrogate}/u.test(text) : native.call(text)
}

function leafFault(value: unknown): string | undefined {
  switch (typeof value) {
    case 'boolean':
      return undefined
    case 'string':
      return isWellFormed(value) ? undefined : 'the text has a lone surrogate'
    case 'number':
      if (!Number.isFinite(value)) return `${value} is no JSON number`
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) return 'the integer is beyond 2^53-1'
      return undefined
    default:
      return `a value of type ${typeof value} cannot travel`
  }
}

/** Why a key cannot travel; undefined when it can. */
export const keyFault = (key: string): string | undefined =>
  isForbiddenKey(key) ? `the key "${key}" is forbidden` : isWellFormed(key) ? undefined : 'the key has a lone surrogate'

/** Checks what JSON.parse returned: containers are plain and acyclic already. Nothing is copied. */
export function checkJson(value: unknown, maxDepth = MAX_DEPTH): Checked<JsonValue> {
  const fault = findFault(value, maxDepth)
  return fault ?? { ok: true, value: value as JsonValue }
}

function findFault(value: unknown, depth: number): { ok: false; path: string; reason: string } | undefined {
  if (value === null) return undefined
  if (typeof value !== 'object') {
    const reason = leafFault(value)
    return reason === undefined ? undefined : fail('', reason)
  }
  if (depth === 0) return fail('', 'the value nests too deeply')
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const inner = findFault(value[i], depth - 1)
      if (inner !== undefined) return fail(`/${i}${inner.path}`, inner.reason)
    }
    return undefined
  }
  for (const key of Object.keys(value)) {
    const reason = keyFault(key)
    if (reason !== undefined) return fail(`/${escapeToken(key)}`, reason)
    const inner = findFault((value as Record<string, unknown>)[key], depth - 1)
    if (inner !== undefined) return fail(`/${escapeToken(key)}${inner.path}`, inner.reason)
  }
  return undefined
}

/** Whether an object is no instance of a class. */
export const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // Another realm's Object.prototype (an iframe, a vm context) is as good as ours: it is the one with no prototype itself.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** The name of what made an instance, for people; it may have none. */
const classOf = (value: object): string => (value.constructor as { name?: string } | undefined)?.name ?? 'a class'

/**
 * Copies a program's value at the door, so that no alias is kept. A property that is `undefined` is absent, -0 is 0;
 * everything else JSON cannot carry is refused with its path: NaN, infinities, functions, dates, class instances,
 * `undefined` or a hole in an array, a getter that throws, cycles.
 * @param adopt answers the finished value for an object that needs no copy (the store's drafts use it), else undefined
 * @param maxDepth levels of nesting, where it is to go deeper into a tree
 */
export function copyJson(
  value: unknown,
  adopt?: (value: object) => JsonValue | undefined,
  maxDepth = MAX_DEPTH,
): Checked<JsonValue> {
  const open = new Set<object>()
  type Inner = JsonValue | { readonly path: string; readonly reason: string; readonly [FAULT]: true }
  const faulty = (path: string, reason: string): Inner => ({ path, reason, [FAULT]: true })
  const isFault = (inner: Inner): inner is { path: string; reason: string; [FAULT]: true } =>
    typeof inner === 'object' && inner !== null && FAULT in inner

  function copy(from: unknown, depth: number): Inner {
    if (from === null) return null
    if (typeof from !== 'object') {
      const reason = leafFault(from)
      if (reason !== undefined) return faulty('', reason)
      return Object.is(from, -0) ? 0 : (from as JsonValue)
    }
    const adopted = adopt?.(from)
    if (adopted !== undefined) return adopted
    if (depth === 0) return faulty('', 'the value nests too deeply')
    if (open.has(from)) return faulty('', 'the value contains itself')
    open.add(from)
    const made = Array.isArray(from) ? copyArray(from, depth) : copyObject(from, depth)
    open.delete(from)
    return made
  }
  function copyArray(from: readonly unknown[], depth: number): Inner {
    const made: JsonValue[] = new Array<JsonValue>(from.length)
    for (let i = 0; i < from.length; i++) {
      const inner = copy(from[i], depth - 1)
      if (isFault(inner)) return faulty(`/${i}${inner.path}`, inner.reason)
      made[i] = inner
    }
    return made
  }
  function copyObject(from: object, depth: number): Inner {
    if (!isPlain(from)) return faulty('', `an instance of ${classOf(from)} cannot travel`)
    const made: Record<string, JsonValue> = {}
    for (const key of Object.keys(from)) {
      let property: unknown
      try {
        property = (from as Record<string, unknown>)[key]
      } catch (error) {
        return faulty(`/${escapeToken(key)}`, `reading it threw ${String(error)}`)
      }
      if (property === undefined) continue
      const reason = keyFault(key)
      if (reason !== undefined) return faulty(`/${escapeToken(key)}`, reason)
      const inner = copy(property, depth - 1)
      if (isFault(inner)) return faulty(`/${escapeToken(key)}${inner.path}`, inner.reason)
      made[key] = inner
    }
    return made
  }
  const made = copy(value, maxDepth)
  return isFault(made) ? fail(made.path, made.reason) : { ok: true, value: made }
}
const FAULT = Symbol('fault')

/** Equality of two JSON values; key order is no part of it. */
export function equalJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) && a.length === b.length && a.every((item: JsonValue, i) => equalJson(item, b[i] as JsonValue))
    )
  }
  if (Array.isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  const [left, right] = [a as Record<string, JsonValue>, b as Record<string, JsonValue>]
  return keys.every((key) => Object.hasOwn(right, key) && equalJson(left[key], right[key]))
}
