/**
 * What a patch wrote over, operation by operation: kept with a mutate that may outlive its function, to tell on another state
 * whether it still means what its program meant.
 *
 * Promises: costs as much as what is written over, not the state. Each operation is guarded on the state that those before
 * it leave. An insertion or a removal in an array is guarded by the array's length and what is removed; an append by
 * nothing. It compares values: who has changed one there and back has changed nothing.
 */
import { copyJson, equalJson, type JsonValue } from '../protocol/json.js'
import type { Operation, Patch } from '../protocol/replication.js'
import { isArray, isContainer } from './ledger.js'
import { parseIndex, parsePointer } from './patch.js'
import type { Change, Tree } from './tree.js'

/** What an operation found: the value where it writes, where there was one, and the length of an array that it shifts. */
export type Guard = { readonly was?: JsonValue; readonly length?: number }

/**
 * Applies a patch and notes what it writes over; with `expected`, only where every operation finds what it found then.
 * Undefined, and nothing has happened, where it does not.
 */
export function applyGuarded(
  tree: Tree,
  patch: Patch,
  expected?: readonly Guard[],
): { readonly change: Change; readonly guards: readonly Guard[] } | undefined {
  const transaction = tree.begin()
  const guards: Guard[] = []
  const fits = patch.every((operation, i) => {
    const guard = guardOf(transaction.value, operation)
    if (expected !== undefined && !equalJson(guard, expected[i])) return false
    // A copy: wide containers change in place.
    guards.push(copied(guard))
    return transaction.apply([operation])
  })
  if (fits) return { change: transaction.finish(), guards }
  transaction.rollback()
  return undefined
}

function guardOf(state: JsonValue | undefined, { op, path }: Operation): Guard {
  const tokens = parsePointer(path) ?? []
  const last = tokens.pop()
  if (last === undefined) return found(state)
  const parent = tokens.reduce<JsonValue | undefined>(childOf, state)
  if (!isArray(parent) || op === 'replace') return found(childOf(parent, last))
  if (op === 'remove') return { ...found(childOf(parent, last)), length: parent.length }
  return last === '-' ? {} : { length: parent.length }
}

function copied(guard: Guard): Guard {
  if (guard.was === undefined) return guard
  const copy = copyJson(guard.was, undefined, Infinity)
  return copy.ok ? { ...guard, was: copy.value } : guard
}

const found = (value: JsonValue | undefined): Guard => (value === undefined ? {} : { was: value })

function childOf(parent: JsonValue | undefined, token: string): JsonValue | undefined {
  if (!isContainer(parent)) return undefined
  const key = isArray(parent) ? parseIndex(token) : token
  if (key === undefined || !Object.hasOwn(parent, key)) return undefined
  return (parent as Record<string | number, JsonValue>)[key]
}
