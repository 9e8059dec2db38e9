/**
 * The state, and the only way to change it.
 *
 * One JSON tree (any JSON value at the root, or undefined before there is any). Drafts, returned values and patches all
 * go through a Transaction, with one mechanism of ownership and undo (ledger.ts). Promises: one changed item costs about
 * the same in a small and in a large state; a change can be taken back exactly; what was pinned or left in a patch never
 * changes. Narrow containers that changed, and those above them, get a new identity; wide ones keep theirs
 * (docs/decisions/state-identity.md). It knows no versions, no handlers and no listeners.
 */
import { NamedMasterError } from '../errors.js'
import { MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import type { Operation, Patch } from '../protocol/replication.js'
import { difference } from './difference.js'
import { runProgram } from './draft.js'
import { ABSENT, isArray, isContainer, Ledger, nestsWithin, type Container, type Owned, deepFreeze } from './ledger.js'
import { parseIndex, parsePointer, WritesBuilder, type Writes } from './patch.js'

/** One finished change of a tree. `patch` leads from before to after; it is empty when nothing differs. */
export interface Change {
  readonly patch: Patch
  /**
   * What it wrote, by the rules of conflict (patch.ts): the paths of `patch`, and those that applied patches named even
   * where the value was there already.
   */
  readonly writes: Writes
  /**
   * Takes it back. Only the latest change that still stands may be taken back (a stack), and only until the tree is
   * pinned or reset. Where the patch is empty there is nothing to take back, at any time.
   * @throws TypeError otherwise
   */
  undo(): void
}

export interface Transaction {
  /**
   * Hands the program a draft of the state. It may change it in place, or return a new value, not both
   * (`ambiguous-mutator`). Answers whether it returned or changed anything. What the program throws is thrown on; then,
   * and after any error of ours (`invalid-json`), the caller rolls back. One after the other: a program that runs
   * another one is refused (`store-busy`).
   */
  run(program: (draft: unknown) => unknown): boolean
  /** False when an operation does not fit the state; then the caller rolls back. Never throws on a parsed patch. */
  apply(patch: Patch): boolean
  /** The state as this transaction has it so far. */
  readonly value: JsonValue | undefined
  finish(): Change
  rollback(): void
}

export interface Tree {
  readonly value: JsonValue | undefined
  /** One at a time; a second one is a TypeError. */
  begin(): Transaction
  /** Another state altogether; earlier changes can no longer be taken back. Owns `value` from now on. */
  reset(value: JsonValue | undefined): void
  /**
   * What the state is now stays as it is: wide containers are copied before their next change in place. Earlier changes
   * can no longer be taken back.
   */
  pin(): JsonValue | undefined
}

export interface TreeOptions {
  /**
   * Freezes what the tree was given and the narrow containers that transactions make, to find programs that write to what
   * they may only read. Default: unless NODE_ENV is "production", where there is one.
   */
  readonly freeze?: boolean
}

/**
 * Elements that the insertions and removals of one patch may move in all: a third of a second at 1,000,000 elements, where
 * each insertion at the head took 0.14 ms, so that 100,000 operations in 4 MB would take 14 s. Ten thousand insertions
 * at the head of 100,000 elements are half of it.
 */
const MAX_MOVED_ELEMENTS = 2 ** 31

declare const process: { readonly env: { readonly NODE_ENV?: string } } | undefined
const freezeByDefault = typeof process !== 'undefined' && process.env.NODE_ENV !== 'production'

/** A tree with this state, which it owns from now on: JSON within the limits of protocol/json.ts, not checked again. */
export function createTree(initial: JsonValue | undefined, options: TreeOptions = {}): Tree {
  return new JsonTree(initial, options.freeze ?? freezeByDefault)
}

class JsonTree implements Tree {
  #value: JsonValue | undefined
  readonly #freeze: boolean
  #owned: Owned = new WeakMap()
  #open = false
  /** Changes that stand and may be taken back, counted since the last pin or reset, which begins another era. */
  #standing = 0
  #era = 0

  constructor(initial: JsonValue | undefined, freeze: boolean) {
    this.#value = initial
    this.#freeze = freeze
    if (freeze) deepFreeze(initial)
  }

  get value(): JsonValue | undefined {
    return this.#value
  }

  reset(value: JsonValue | undefined): void {
    this.#disown('reset')
    this.#value = this.#freeze ? deepFreeze(value) : value
  }

  pin(): JsonValue | undefined {
    this.#disown('pinned')
    return this.#value
  }

  #disown(what: string): void {
    if (this.#open) throw new TypeError(`The tree cannot be ${what} during a transaction: finish or roll back first.`)
    this.#owned = new WeakMap()
    this.#era++
    this.#standing = 0
  }

  begin(): Transaction {
    if (this.#open) throw new TypeError('A transaction is open already: finish or roll back first.')
    this.#open = true
    const before = this.#value
    const ledger = new Ledger(before, this.#owned)
    const writes = new WritesBuilder()
    let state: 'open' | 'running' | 'over' = 'open'
    const demand = (): void => {
      if (state === 'over') throw new TypeError('This transaction is over.')
      if (state === 'running') {
        throw new NamedMasterError(
          'store-busy',
          'A handler or mutator is running: change the state when it has returned.',
        )
      }
    }
    const end = (): void => {
      state = 'over'
      this.#open = false
    }
    return {
      run: (program) => {
        demand()
        state = 'running'
        try {
          return runProgram(ledger, program)
        } finally {
          state = 'open'
        }
      },
      apply: (patch) => {
        demand()
        return patch.every((operation) => applyOperation(ledger, operation, writes))
      },
      get value() {
        return ledger.root
      },
      finish: () => {
        demand()
        const { patch, left } = difference(ledger, before, ledger.root, writes)
        // What was only made anew keeps its old identity: views see no change where there is none.
        if (patch.length === 0) ledger.root = ledger.restore()
        ledger.settle(left, this.#freeze)
        end()
        this.#value = ledger.root
        // What changed nothing does not stand: it may be forgotten without being taken back.
        return { patch, writes, undo: patch.length === 0 ? () => {} : this.#undoer(ledger) }
      },
      rollback: () => {
        demand()
        ledger.restore()
        end()
      },
    }
  }

  #undoer(ledger: Ledger): () => void {
    const place = ++this.#standing
    const era = this.#era
    let undone = false
    return () => {
      if (undone || this.#open || era !== this.#era || place !== this.#standing) {
        throw new TypeError('Only the latest change that stands can be taken back, and not after a pin or a reset.')
      }
      undone = true
      this.#standing--
      this.#value = ledger.restore()
    }
  }
}

/** RFC 6902 sections 4.1 to 4.3. The values are taken over; they are copied before anything writes to them. */
function applyOperation(ledger: Ledger, operation: Operation, writes: WritesBuilder): boolean {
  const tokens = parsePointer(operation.path)
  if (tokens === undefined) return false
  if (operation.op !== 'remove' && !nestsWithin(operation.value, MAX_DEPTH - tokens.length)) return false
  const last = tokens.pop()
  if (last === undefined) {
    if (operation.op !== 'add' && ledger.root === undefined) return false
    ledger.root = operation.op === 'remove' ? undefined : operation.value
    writes.paths.add('')
    return true
  }
  const parent = openPath(ledger, tokens)
  if (parent === undefined) return false
  if (!isArray(parent)) {
    if (operation.op !== 'add' && !Object.hasOwn(parent, last)) return false
    ledger.setKey(parent, last, operation.op === 'remove' ? ABSENT : operation.value)
    writes.paths.add(operation.path)
    return true
  }
  const above = operation.path.slice(0, operation.path.lastIndexOf('/'))
  if (operation.op === 'add' && last === '-') {
    writes.append(above, parent.length)
    ledger.setElement(parent, parent.length, operation.value)
    return true
  }
  const index = parseIndex(last)
  if (index === undefined || index > parent.length || (index === parent.length && operation.op !== 'add')) return false
  if (operation.op === 'replace') {
    ledger.setElement(parent, index, operation.value)
    writes.paths.add(operation.path)
    return true
  }
  writes.paths.add(above)
  if (operation.op === 'add' && index === parent.length) {
    ledger.setElement(parent, index, operation.value)
  } else if (operation.op === 'remove' && index === parent.length - 1) {
    ledger.shorten(parent, index)
  } else {
    ledger.moved += parent.length - index
    if (ledger.moved > MAX_MOVED_ELEMENTS) return false
    ledger.rearrange(parent)
    if (operation.op === 'add') parent.splice(index, 0, operation.value)
    else parent.splice(index, 1)
  }
  return true
}

/** Makes every container on a path writable; answers the last one, or undefined where the path does not exist. */
function openPath(ledger: Ledger, tokens: readonly string[]): Container | undefined {
  if (!isContainer(ledger.root)) return undefined
  let container = ledger.writable(ledger.root)
  ledger.root = container
  for (const token of tokens) {
    const key = isArray(container) ? parseIndex(token) : token
    if (key === undefined || !Object.hasOwn(container, key)) return undefined
    const child: JsonValue = (container as Record<string | number, JsonValue>)[key] as JsonValue
    if (!isContainer(child)) return undefined
    const open: Container = ledger.writable(child)
    // Also where the identity stays: the record of a wide parent must lead to what changed below it.
    ledger.put(container, key, open)
    container = open
  }
  return container
}

/** One transaction around a program; what it throws takes everything back. */
export function transact(tree: Tree, program: (transaction: Transaction) => void): Change {
  const transaction = tree.begin()
  try {
    program(transaction)
    return transaction.finish()
  } catch (error) {
    transaction.rollback()
    throw error
  }
}

/** Applies a patch whose change somebody has to agree to. `unfit`: it does not fit the state. */
export function applyIf(tree: Tree, patch: Patch, agrees: (change: Change) => boolean): Change | 'unfit' | 'rejected' {
  const transaction = tree.begin()
  if (!transaction.apply(patch)) {
    transaction.rollback()
    return 'unfit'
  }
  const change = transaction.finish()
  if (agrees(change)) return change
  change.undo()
  return 'rejected'
}
