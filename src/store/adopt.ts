/**
 * Any store with the contract's four methods, as an authority sees it: a shadow of its state in a tree, kept in step.
 *
 * Promises: what the foreign store's own program changes is noticed (by `subscribe` where there is one, else by standing
 * in for its `emit` and `mutate`), and slaves' changes go through those methods. What is emitted inside a change belongs
 * to it, where the store's own emit is used for it. Does not promise to undo what a foreign handler did before it threw:
 * what it changed is then a change of the program's own. Volatile events pass it by.
 */
import { NamedMasterError } from '../errors.js'
import { copyJson, type JsonValue } from '../protocol/json.js'
import {
  MAX_EVENTS_PER_COMMIT,
  type CommittedEvent,
  type Operation,
  type Origin,
  type Patch,
} from '../protocol/replication.js'
import { checkEventName, madeEvent, takePayload } from './handlers.js'
import { parsePointer } from './patch.js'
import { messageOf, type StoreChange, type StoreCore, type StoreOwner } from './store.js'
import { applyIf, createTree, type Change, type Tree } from './tree.js'

/** What is asked of a foreign store. Its handlers are its own affair: no `info`, no phases, no prediction. */
export interface ForeignStore {
  on(event: never, handler: never): unknown
  emit(event: never, payload?: never): unknown
  getState(): unknown
  mutate(mutator: never): unknown
  subscribe?(listener: never): unknown
}

interface CalledStore {
  emit(event: string, payload?: unknown): unknown
  getState(): unknown
  mutate(mutator: (state: unknown) => unknown): unknown
  subscribe?(listener: () => void): unknown
}

/** What the published microstore emits on each mutate, by itself. */
const INTERNAL_EVENT = 'state.changed'

/**
 * @param inPlace its mutators change the state without a new reference: all of it is compared after each change
 * @throws TypeError when a method is missing; NamedMasterError `invalid-json` when its state cannot travel
 */
export function adopt(foreign: ForeignStore, options: { readonly inPlace?: boolean } = {}): StoreCore {
  for (const method of ['on', 'emit', 'getState', 'mutate'] as const) {
    if (typeof foreign[method] !== 'function')
      throw new TypeError(`A store has the method ${method}(); this one has not`)
  }
  return new AdoptedStore(foreign, options.inPlace ?? false)
}

class AdoptedStore implements StoreCore {
  version = 0
  readonly #foreign: CalledStore
  readonly #inPlace: boolean
  readonly #tree: Tree
  readonly #emit: CalledStore['emit']
  readonly #mutate: CalledStore['mutate']
  /** The foreign state as it was last compared; its parts are taken as unchanged while their references are. */
  #seen: unknown
  #owner: StoreOwner | undefined
  /** The events of the change that is going on, while one is: what happens inside is part of it. */
  #underway: CommittedEvent[] | undefined

  constructor(foreign: CalledStore, inPlace: boolean) {
    this.#foreign = foreign
    this.#inPlace = inPlace
    this.#seen = foreign.getState()
    this.#tree = createTree(demandJson(this.#seen))
    this.#emit = foreign.emit.bind(foreign)
    this.#mutate = foreign.mutate.bind(foreign)
  }

  get value(): JsonValue | undefined {
    return this.#tree.value
  }

  own(owner: StoreOwner): () => void {
    if (this.#owner !== undefined) throw new TypeError('This store already has a master')
    this.#owner = owner
    if (typeof this.#foreign.subscribe === 'function') {
      const off = this.#foreign.subscribe(() => this.#noticed([]))
      return () => {
        this.#owner = undefined
        if (typeof off === 'function') (off as () => void)()
      }
    }
    const { emit, mutate } = this.#foreign
    this.#foreign.emit = (event, payload) =>
      this.#own(
        () => this.#emit(event, payload),
        event === INTERNAL_EVENT ? undefined : madeEvent(checkEventName(event), takePayload(payload)),
      )
    this.#foreign.mutate = (mutator) => this.#own(() => this.#mutate(mutator), undefined)
    return () => {
      this.#owner = undefined
      Object.assign(this.#foreign, { emit, mutate })
    }
  }

  restore(value: JsonValue | undefined, version: number): void {
    this.version = version
    this.#during([], () => this.#mutate(() => demandJson(value)))
    this.#seen = this.#foreign.getState()
    this.#tree.reset(value)
  }

  emit(event: CommittedEvent, origin: Origin): StoreChange {
    const events = [event]
    try {
      this.#during(events, () => this.#emit(event.event, demandJson(event.payload)))
    } catch (error) {
      this.#salvage()
      throw NamedMasterError.from(error, 'handler-failed', messageOf(error, `A handler of "${event.event}" threw`))
    }
    return this.#changed(this.#compare(), events, origin)
  }

  patch(patch: Patch, origin: Origin, verify: (change: Change) => boolean): 'done' | 'unfit' | 'rejected' {
    const change = applyIf(this.#tree, patch, verify)
    if (typeof change === 'string') return change
    const events: CommittedEvent[] = []
    try {
      this.#during(events, () => this.#mutate((state) => patched(state, change.patch, this.#inPlace)))
    } catch (error) {
      change.undo()
      this.#salvage()
      throw NamedMasterError.from(error, 'handler-failed', messageOf(error, 'The store threw at this change'))
    }
    this.#seen = this.#foreign.getState()
    this.#changed(change, events, origin)
    return 'done'
  }

  volatile(): void {
    // A foreign store has no handlers that are known to change nothing.
  }

  pin(): JsonValue | undefined {
    return this.#tree.pin()
  }

  /** The program emits or mutates: a change of its own, or part of the one that is going on. */
  #own<T>(program: () => T, event: CommittedEvent | undefined): T {
    if (this.#underway !== undefined) {
      if (event !== undefined) addInner(this.#underway, event)
      return program()
    }
    this.#owner?.admit()
    const events = event === undefined ? [] : [event]
    let returned: T
    try {
      returned = this.#during(events, program)
    } catch (error) {
      this.#salvage()
      throw error
    }
    this.#noticed(events)
    return returned
  }

  #during<T>(events: CommittedEvent[], program: () => T): T {
    this.#underway = events
    try {
      return program()
    } finally {
      this.#underway = undefined
    }
  }

  /** The program changed its store, or emitted something. */
  #noticed(events: readonly CommittedEvent[]): void {
    if (this.#underway !== undefined) return
    const change = this.#compare()
    if (change.patch.length > 0 || events.length > 0) this.#changed(change, events, undefined)
  }

  /** What was changed before something threw. That it cannot travel is said at the next change, if it is still so. */
  #salvage(): void {
    try {
      this.#noticed([])
    } catch {
      // What threw first is what the caller is told.
    }
  }

  /** Brings the tree in step with the foreign state. */
  #compare(): Change {
    const before = this.#inPlace ? this.#tree.value : this.#seen
    const after = this.#foreign.getState()
    const transaction = this.#tree.begin()
    try {
      if (before !== after) transaction.run((draft) => follow(draft, before, after))
    } catch (error) {
      transaction.rollback()
      throw error
    }
    this.#seen = after
    return transaction.finish()
  }

  #changed(change: Change, events: readonly CommittedEvent[], origin: Origin | undefined): StoreChange {
    const stored = { version: ++this.version, change, events, origin }
    this.#owner?.changed(stored)
    return stored
  }
}

/** As in a store of ours: inner ids and the time follow from the outer event. */
function addInner(events: CommittedEvent[], event: CommittedEvent): void {
  const [outer] = events
  if (events.length === MAX_EVENTS_PER_COMMIT) {
    const sentence = `"${outer?.event}" emitted over ${MAX_EVENTS_PER_COMMIT} events`
    throw new NamedMasterError('handler-failed', sentence)
  }
  events.push(outer === undefined ? event : { ...event, id: `${outer.id}/${events.length}`, at: outer.at })
}

type Container = Record<string, unknown>
const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null

/** Makes the draft, which equals `before`, equal to `after`; parts whose reference is the same are skipped. */
function follow(draft: unknown, before: unknown, after: unknown): unknown {
  const sameKind = isContainer(before) && isContainer(after) && Array.isArray(before) === Array.isArray(after)
  if (!sameKind || !isContainer(draft)) return after
  if (Array.isArray(after))
    (draft as unknown as unknown[]).length = Math.min((before as unknown as unknown[]).length, after.length)
  else for (const key of Object.keys(before)) if (after[key] === undefined) delete draft[key]
  for (const [key, value] of Object.entries(after)) {
    const was = before[key]
    if (was === value || value === undefined) continue
    if (isContainer(was) && isContainer(value) && Array.isArray(was) === Array.isArray(value))
      follow(draft[key], was, value)
    else draft[key] = value
  }
  return undefined
}

/** The foreign state with a patch that fits: changed in place, or as a new value that shares what is unchanged. */
function patched(state: unknown, patch: Patch, inPlace: boolean): unknown {
  let root = state
  for (const operation of patch) {
    const tokens = parsePointer(operation.path) ?? []
    root = tokens.length === 0 ? valueOf(operation) : within(root as Container, tokens, operation, inPlace)
  }
  return inPlace && root === state ? undefined : root
}

function within(
  container: Container,
  [key = '', ...rest]: readonly string[],
  operation: Operation,
  inPlace: boolean,
): Container {
  const copy = inPlace ? container : ((Array.isArray(container) ? [...container] : { ...container }) as Container)
  if (rest.length > 0) copy[key] = within(copy[key] as Container, rest, operation, inPlace)
  else if (!Array.isArray(copy)) {
    if (operation.op === 'remove') delete copy[key]
    else copy[key] = valueOf(operation)
  } else if (operation.op === 'replace') (copy as unknown[])[Number(key)] = valueOf(operation)
  else if (operation.op === 'remove') (copy as unknown[]).splice(Number(key), 1)
  else (copy as unknown[]).splice(key === '-' ? copy.length : Number(key), 0, valueOf(operation))
  return copy
}

/** A copy: what is in a patch may not be changed by a foreign program. */
const valueOf = (operation: Operation): JsonValue | undefined =>
  operation.op === 'remove' ? undefined : demandJson(operation.value)

function demandJson(value: unknown): JsonValue | undefined {
  if (value === undefined) return undefined
  const copied = copyJson(value)
  if (copied.ok) return copied.value
  throw new NamedMasterError('invalid-json', `The store's state cannot travel: ${copied.reason} (at "${copied.path}")`)
}
