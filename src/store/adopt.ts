/**
 * Any store with the contract's four methods, as an authority sees it: a shadow of its state in a tree, kept in step.
 *
 * Promises: what the foreign store's own program changes is noticed (by `subscribe` where there is one, else by standing
 * in for its `emit` and `mutate`), and slaves' changes go through those methods. What is emitted inside a change belongs
 * to it, where the store's own emit is used for it. A slave's change that fails is taken back. What of the state cannot
 * travel is left out of what slaves see, and told to whoever put it there. Does not promise to undo what the program's
 * own change did before it threw. Volatile events pass it by.
 */
import { NamedMasterError } from '../errors.js'
import { copyJson, type JsonValue } from '../protocol/json.js'
import { MAX_EVENTS_PER_COMMIT, type CommittedEvent, type Origin, type Patch } from '../protocol/replication.js'
import { Follower, patched, type Fault } from './follow.js'
import { checkEventName, madeEvent, takePayload } from './handlers.js'
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

export interface AdoptOptions {
  /** Its mutators change the state without a new reference: all of it is compared after each change. */
  readonly inPlace?: boolean
  /** Gets what no caller can be told: the faults of a change that a listener was told of. Default: the console. */
  readonly report?: (error: unknown) => void
}

/** Those that have a master: what stands in for their methods can only be taken off in its turn. */
const served = new WeakSet<object>()

/** What the published microstore emits on each mutate, by itself. */
const INTERNAL_EVENT = 'state.changed'

/**
 * How often a store that was changed and yet has the same state is compared as a whole, in case it changes it in place.
 * One that does is found out at once; one that does not, and often mutates to no effect, soon has no more of that cost.
 */
const MAX_DOUBTS = 20

const IN_PLACE_ADVICE =
  'This store changes its state in place: give { inPlace: true } to its Master, or have its mutators return a new state'
const NOT_TAKEN =
  'The store did not take this change: its mutate() must at once use what the mutator returns (with { inPlace: true }: what it changes)'

/**
 * @throws TypeError when a method is missing, or cannot be stood in for; NamedMasterError `invalid-json` when its state
 * cannot travel
 */
export function adopt(foreign: ForeignStore, options: AdoptOptions = {}): StoreCore {
  for (const method of ['on', 'emit', 'getState', 'mutate'] as const) {
    if (typeof foreign[method] !== 'function')
      throw new TypeError(`A store has the method ${method}(); this one has not`)
  }
  if (typeof foreign.subscribe !== 'function' && Object.isFrozen(foreign)) {
    throw new TypeError('A store without subscribe() has its emit and mutate replaced; this one is frozen')
  }
  return new AdoptedStore(foreign, options)
}

class AdoptedStore implements StoreCore {
  version = 0
  readonly #foreign: CalledStore
  readonly #report: (error: unknown) => void
  readonly #tree: Tree
  readonly #follower = new Follower()
  readonly #emit: CalledStore['emit']
  readonly #mutate: CalledStore['mutate']
  #inPlace: boolean
  /** The foreign state as it was last compared; its parts are taken as unchanged while their references are. */
  #seen: unknown
  /** What cannot travel of a state that is compared as a whole each time: told once. */
  #leftOut: ReadonlySet<string> = new Set()
  /** Something was mutated since the last comparison. */
  #stirred = false
  #doubts = MAX_DOUBTS
  #owner: StoreOwner | undefined
  /** The events of the change that is going on, while one is: what happens inside is part of it. */
  #underway: CommittedEvent[] | undefined

  constructor(foreign: CalledStore, options: AdoptOptions) {
    this.#foreign = foreign
    this.#inPlace = options.inPlace ?? false
    this.#report = options.report ?? ((error) => console.error('A store that is served:', error))
    this.#seen = foreign.getState()
    this.#tree = createTree(demandJson(this.#seen))
    this.#emit = foreign.emit.bind(foreign)
    this.#mutate = foreign.mutate.bind(foreign)
  }

  get value(): JsonValue | undefined {
    return this.#tree.value
  }

  own(owner: StoreOwner): () => void {
    if (served.has(this.#foreign)) throw new TypeError('This store already has a master')
    served.add(this.#foreign)
    this.#owner = owner
    const letGo =
      typeof this.#foreign.subscribe === 'function' ? this.#listen(this.#foreign.subscribe) : this.#standIn()
    return () => {
      this.#owner = undefined
      served.delete(this.#foreign)
      letGo()
    }
  }

  restore(value: JsonValue | undefined, version: number): void {
    this.version = version
    this.#tree.reset(value)
    this.#put(demandJson(value))
    this.#seen = this.#foreign.getState()
  }

  emit(event: CommittedEvent, origin: Origin): StoreChange {
    if (event.event === INTERNAL_EVENT) {
      throw new NamedMasterError('not-allowed', `"${INTERNAL_EVENT}" is what a store itself says: emit another event`)
    }
    if (!this.#inPlace) this.#catchUp()
    const events = [event]
    try {
      this.#during(events, () => this.#emit(event.event, demandJson(event.payload)))
      return this.#changed(this.#compare(demandNoFault), events, origin)
    } catch (error) {
      this.#takeBack()
      throw NamedMasterError.from(error, 'handler-failed', messageOf(error, `A handler of "${event.event}" threw`))
    }
  }

  patch(patch: Patch, origin: Origin, verify: (change: Change) => boolean): 'done' | 'unfit' | 'rejected' {
    // In step with the store before it is judged; that costs nothing where nobody went round us.
    if (!this.#inPlace) this.#catchUp()
    const change = applyIf(this.#tree, patch, verify)
    if (typeof change === 'string') return change
    const events: CommittedEvent[] = []
    try {
      if (change.patch.length > 0) this.#during(events, () => this.#take(change.patch))
    } catch (error) {
      change.undo()
      this.#takeBack()
      throw NamedMasterError.from(error, 'handler-failed', messageOf(error, 'The store threw at this change'))
    }
    this.#changed(change, events, origin)
    // What the store made of it beyond the patch is a change of its own.
    this.#catchUp()
    return 'done'
  }

  volatile(): void {
    // A foreign store has no handlers that are known to change nothing.
  }

  pin(): JsonValue | undefined {
    return this.#tree.pin()
  }

  #listen(subscribe: NonNullable<CalledStore['subscribe']>): () => void {
    const off = subscribe.call(this.#foreign, () => {
      this.#stirred = true
      // A throw here would reach whoever the store tells next, or nobody at all.
      this.#catchUp()
    })
    return () => typeof off === 'function' && (off as () => void)()
  }

  #standIn(): () => void {
    const foreign = this.#foreign
    const before = Object.getOwnPropertyDescriptors(foreign)
    foreign.emit = (event, payload) =>
      this.#own(
        () => this.#emit(event, payload),
        event === INTERNAL_EVENT ? undefined : madeEvent(checkEventName(event), takePayload(payload)),
      )
    foreign.mutate = (mutator) =>
      this.#own(() => {
        this.#stirred = true
        return this.#mutate(mutator)
      }, undefined)
    return () => {
      for (const method of ['emit', 'mutate'] as const) {
        if (before[method] === undefined) Reflect.deleteProperty(foreign, method)
        else Object.defineProperty(foreign, method, before[method])
      }
    }
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
      // What it changed before it threw is changed.
      this.#catchUp()
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

  /** The program changed its store, or emitted something. Throws when that cannot travel, after all that can has. */
  #noticed(events: readonly CommittedEvent[]): void {
    if (this.#underway !== undefined || this.#owner === undefined) return
    let faults: readonly Fault[] = []
    const change = this.#compare((found) => (faults = found))
    if (change.patch.length > 0 || events.length > 0) this.#changed(change, events, undefined)
    demandNoFault(faults)
  }

  /** Notices what has no caller to be told of its faults. */
  #catchUp(): void {
    this.#reporting(() => this.#noticed([]))
  }

  /** A slave's patch goes to the store. Throws when the store does not take it at once. */
  #take(patch: Patch): void {
    const before = this.#foreign.getState()
    let over = false
    let asked = false
    let expected: unknown
    try {
      this.#mutate((state) => {
        // Too late: the change has been refused.
        if (over) return this.#inPlace ? undefined : state
        asked = true
        return (expected = patched(state, patch, this.#inPlace))
      })
    } finally {
      over = true
    }
    if (!asked || (!this.#inPlace && this.#foreign.getState() === before)) {
      throw new NamedMasterError('handler-failed', NOT_TAKEN)
    }
    this.#seen = expected
  }

  /** A slave's change failed half-way: the store gets back the state it had. What does not go back is the program's own. */
  #takeBack(): void {
    this.#reporting(() => {
      if (!this.#inPlace && this.#foreign.getState() !== this.#seen) this.#put(this.#seen)
      // Where parts of it cannot travel, the tree does not have all of it.
      if (this.#inPlace && this.#leftOut.size === 0) this.#put(this.#tree.value)
    })
    this.#catchUp()
  }

  #put(state: unknown): void {
    const whole = (now: unknown): unknown => (this.#inPlace ? new Follower().follow(now, now, state) : state)
    this.#during([], () => this.#mutate(whole))
  }

  #reporting(program: () => void): void {
    try {
      program()
    } catch (error) {
      this.#report(error)
    }
  }

  /** Brings the tree in step with the foreign state. `judge` is told what cannot travel, and throws to have none of it. */
  #compare(judge: (faults: readonly Fault[]) => void): Change {
    const after = this.#foreign.getState()
    const doubted = !this.#inPlace && this.#stirred && after === this.#seen && this.#doubts > 0
    if (doubted) this.#doubts--
    this.#stirred = false
    const before = this.#inPlace || doubted ? this.#tree.value : this.#seen
    const transaction = this.#tree.begin()
    const follower = this.#follower
    try {
      transaction.run((draft) => follower.follow(draft, before, after))
      if (!doubted) judge(follower.faults.filter(({ path }) => !this.#leftOut.has(path)))
    } catch (error) {
      transaction.rollback()
      throw error
    }
    const change = transaction.finish()
    const { faults } = follower
    if (!faults.some(({ path }) => path === '')) this.#seen = after
    if (doubted && change.patch.length > 0) {
      this.#inPlace = true
      this.#report(new NamedMasterError('invalid-config', IN_PLACE_ADVICE))
      this.#reporting(() => demandNoFault(faults))
    }
    if (this.#inPlace) this.#leftOut = new Set(faults.map(({ path }) => path))
    return change
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

function demandJson(value: unknown): JsonValue | undefined {
  if (value === undefined) return undefined
  const copied = copyJson(value)
  if (copied.ok) return copied.value
  throw cannotTravel(copied)
}

function demandNoFault([first]: readonly Fault[]): void {
  if (first !== undefined) throw cannotTravel(first)
}

const cannotTravel = ({ path, reason }: Fault): NamedMasterError =>
  new NamedMasterError('invalid-json', `The store's state cannot travel: ${reason} (at "${path}")`)
