/**
 * A client's own changes as they are shown, on top of the confirmed state: emits as their handlers here predict them, mutates by
 * their patch while that holds, else by their function again.
 *
 * Promises: what is taken off leaves the confirmed state as it was; a change that throws when it is shown again is not shown, or is
 * given back where it was to be sent. When that is done, and who is told, is the replica's part.
 */
import { NamedMasterError } from '../errors.js'
import { MAX_OPERATIONS } from '../protocol/replication.js'
import { applyGuarded } from './guards.js'
import type { Handlers } from './handlers.js'
import type { EventInfo } from './microstore.js'
import { pathsOf } from './patch.js'
import type { Pending, PendingChanges, PendingEmit, PendingMutate } from './pending.js'
import { messageOf } from './store.js'
import { transact, type Change, type Tree } from './tree.js'

/** What is below: its version, and who we are to the master, once that is known. */
export interface Confirmed {
  readonly version: number
  readonly client: number | undefined
}

export class Showing {
  readonly #tree: Tree
  readonly #handlers: Handlers
  readonly #pending: PendingChanges
  readonly #confirmed: Confirmed

  constructor(tree: Tree, handlers: Handlers, pending: PendingChanges, confirmed: Confirmed) {
    this.#tree = tree
    this.#handlers = handlers
    this.#pending = pending
    this.#confirmed = confirmed
  }

  /** Takes all of them off, the latest first, and adds the paths they wrote. */
  takeOff(paths: Set<string>): void {
    for (const pending of this.#pending.all.toReversed()) {
      if (pending.shown === undefined) continue
      for (const path of pathsOf(pending.shown.writes)) paths.add(path)
      pending.shown.undo()
      pending.shown = undefined
    }
  }

  /** Puts all of them on what is confirmed by now, in their order, and adds the paths they write. */
  again(paths: Set<string>): void {
    // From the first sent mutate that no longer holds, all of them are only shown: the refusal is on its way.
    let onlyShown = false
    for (const pending of this.#pending.all) {
      if (pending.kind === 'emit') {
        this.predict(pending, 'rerun')
      } else if (!pending.sent) {
        this.#runForSending(pending)
      } else if (onlyShown || pending.stale || !this.#reapply(pending)) {
        onlyShown = true
        const { mutator } = pending
        if (mutator === undefined) this.#reapply(pending)
        else pending.shown = this.#attempt(() => this.run(mutator))
      }
      if (pending.shown !== undefined) for (const path of pathsOf(pending.shown.writes)) paths.add(path)
    }
  }

  /** An emit, by its handlers here. */
  predict(pending: PendingEmit, phase: 'predict' | 'rerun'): void {
    // Most slaves predict little: what runs nothing must not cost a transaction each time the others are shown again.
    if (this.#handlers.rests(pending.event, pending.idle)) return
    const run = { phase, origin: this.#originOf(pending), idle: pending.idle }
    // A throw only means that there is no prediction: what the master decides is shown.
    pending.shown = this.#attempt(() =>
      transact(this.#tree, (transaction) => void this.#handlers.run(transaction, pending.event, run)),
    )
  }

  #reapply(pending: PendingMutate): boolean {
    const transaction = this.#tree.begin()
    if (!transaction.apply(pending.patch)) {
      transaction.rollback()
      return false
    }
    pending.shown = transaction.finish()
    return true
  }

  /** A mutate that is not on its way: its patch is made anew on what is confirmed by now. */
  #runForSending(pending: PendingMutate): void {
    const { mutator } = pending
    if (mutator === undefined) return this.#judge(pending)
    try {
      const change = this.run(mutator)
      if (change.patch.length === 0) {
        change.undo()
        // What only a guess made empty may yet have something to write.
        if (!this.#pending.guesses(pending)) this.#pending.drop(pending)
        return
      }
      this.#pending.remake(pending, this.made(change))
    } catch (error) {
      const message = messageOf(error, 'The mutator threw when it was run again')
      this.#pending.giveBack(pending, new NamedMasterError('mutator-failed', message, { cause: error }))
    }
  }

  /** A mutate whose function is gone holds where it still writes over what it wrote over. */
  #judge(pending: PendingMutate): void {
    if (this.#pending.waits(pending)) return void this.#reapply(pending)
    const { patch, guards } = pending
    const applied = applyGuarded(this.#tree, patch, guards)
    if (applied === undefined) {
      const sentence =
        'What it writes was changed meanwhile, and its function is gone: look at the patch, and do it again'
      return this.#pending.giveBack(pending, new NamedMasterError('conflict-not-repeatable', sentence))
    }
    const { change: shown } = applied
    this.#pending.remake(pending, { base: this.#confirmed.version, patch, writes: shown.writes, guards, shown })
  }

  /** A mutate as it is to be sent. For the outbox it is put on once more, to see what it writes over. */
  made(shown: Change): Pick<PendingMutate, 'base' | 'patch' | 'writes' | 'guards' | 'shown'> {
    const { patch, writes } = shown
    const made = { base: this.#confirmed.version, patch, writes }
    if (!this.#pending.kept) return { ...made, guards: [], shown }
    shown.undo()
    const applied = applyGuarded(this.#tree, patch)
    if (applied === undefined) throw new TypeError('A patch fits the state it was made on.')
    return { ...made, guards: applied.guards, shown: applied.change }
  }

  /** Throws what the mutator throws; then nothing has changed. */
  run(mutator: (state: unknown) => unknown): Change {
    const change = transact(this.#tree, (transaction) => {
      transaction.run((draft) => this.#handlers.exclusively('a mutator', () => mutator(draft)))
    })
    if (change.patch.length <= MAX_OPERATIONS) return change
    change.undo()
    throw new NamedMasterError('too-large', `A mutate may change ${MAX_OPERATIONS} places; send an event instead`)
  }

  #attempt<T>(program: () => T): T | undefined {
    try {
      return program()
    } catch {
      return undefined
    }
  }

  #originOf(pending: Pending): EventInfo['origin'] {
    const { client } = this.#confirmed
    return client === undefined ? undefined : { client, seq: pending.seq }
  }
}
