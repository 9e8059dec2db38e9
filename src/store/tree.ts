/**
 * The state, and the only way to change it. (Contract; the implementation is this room's.)
 */
import type { JsonValue } from '../protocol/json.js'
import type { Patch } from '../protocol/replication.js'
import type { Writes } from './patch.js'

/** One finished change of a tree. `patch` leads from before to after; it is empty when nothing differs. */
export interface Change {
  readonly patch: Patch
  /** What it wrote, by the rules of conflict: see patch.ts. */
  readonly writes: Writes
  /** Takes it back. Only the latest change that still stands may be taken back (a stack). */
  undo(): void
}

export interface Transaction {
  /**
   * Hands the program a draft of the state. It may change it in place, or return a new value, not both
   * (`ambiguous-mutator`). Answers whether it returned or changed anything. What the program throws is thrown on; then,
   * and after any error of ours (`invalid-json`), the caller rolls back.
   */
  run(program: (draft: unknown) => unknown): boolean
  /** False when an operation does not fit the state; then the caller rolls back. */
  apply(patch: Patch): boolean
  /** The state as this transaction has it so far. */
  readonly value: JsonValue | undefined
  finish(): Change
  rollback(): void
}

export interface Tree {
  readonly value: JsonValue | undefined
  /** One at a time. */
  begin(): Transaction
  /** Another state altogether; earlier changes can no longer be taken back. Owns `value` from now on. */
  reset(value: JsonValue | undefined): void
  /** What the state is now stays as it is: wide containers are copied before their next change in place. */
  pin(): JsonValue | undefined
}
