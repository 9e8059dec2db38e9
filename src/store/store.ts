/**
 * createStore: the microstore contract (seed document 1), local and synchronous, and the core through which an authority
 * sees it.
 *
 * Promises: each emit is one change, with all that its handlers emit; a throw inside undoes all of it. Values are copied
 * at the door and no alias is kept. It knows nothing of networks, clocks or disks.
 */
import { NamedMasterError } from '../errors.js'
import { copyJson, type JsonValue } from '../protocol/json.js'
import type { CommittedEvent, Origin, Patch } from '../protocol/replication.js'
import { checkEventName, Handlers, madeEvent, takePayload, type AnyHandler } from './handlers.js'
import type { EventInfo, Handler, Microstore, Mutator, StoreListener } from './microstore.js'
import { pathsOf } from './patch.js'
import { applyIf, createTree, transact, type Change, type Tree } from './tree.js'

/** One numbered change of a store. */
export interface StoreChange {
  readonly version: number
  readonly change: Change
  readonly events: readonly CommittedEvent[]
  readonly origin: Origin | undefined
}

/** Who is answerable for a store's changes: the master's authority. */
export interface StoreOwner {
  /** Throws when the program may not change the store now (`storage-full`). */
  admit(): void
  /** After each change, before any listener hears of it. */
  changed(change: StoreChange): void
  volatile(event: CommittedEvent): void
}

/** A store as its owner sees it. `adopt.ts` makes one of any object with the contract's four methods. */
export interface StoreCore {
  readonly value: JsonValue | undefined
  readonly version: number
  /** At most one owner; returns the function that lets go. */
  own(owner: StoreOwner): () => void
  /** What a journal kept replaces what the program began with. */
  restore(value: JsonValue | undefined, version: number): void
  /** Throws `handler-failed` and the like; then nothing has changed. */
  emit(event: CommittedEvent, origin: Origin): StoreChange
  /** `unfit`: it does not apply. `verify` sees the change before it counts; when it answers false, it is taken back. Throws as `emit`. */
  patch(patch: Patch, origin: Origin, verify: (change: Change) => boolean): 'done' | 'unfit' | 'rejected'
  volatile(event: CommittedEvent, origin: EventInfo['origin']): void
  /** The state as it is now, never to change: see Tree.pin. */
  pin(): JsonValue | undefined
}

export interface StoreOptions {
  /** Freezes what `getState` hands out, where identity allows. Default: unless NODE_ENV is "production". */
  readonly freeze?: boolean
  /** Gets what a listener, or a handler of a volatile event, threw. Default: the console. */
  readonly report?: (error: unknown) => void
}

const cores = new WeakMap<object, StoreCore>()

/** The core of a store that `createStore` made; undefined for any other object. */
export const coreOf = (store: object): StoreCore | undefined => cores.get(store)

/**
 * Makes a store. `initialState` is any JSON value; it is copied.
 * @throws NamedMasterError `invalid-json` naming the path of what JSON cannot carry
 */
export function createStore<S>(initialState: S, options: StoreOptions = {}): Microstore<S> {
  const copied = copyJson(initialState)
  if (!copied.ok) {
    throw new NamedMasterError(
      'invalid-json',
      `The initial state cannot travel: ${copied.reason} (at "${copied.path}")`,
    )
  }
  return new LocalStore<S>(copied.value, options)
}

class LocalStore<S> implements Microstore<S> {
  readonly #tree: Tree
  readonly #handlers = new Handlers()
  readonly #notifier: Notifier
  readonly #report: (error: unknown) => void
  #version = 0
  #owner: StoreOwner | undefined

  constructor(initial: JsonValue, options: StoreOptions) {
    this.#tree = createTree(initial, options)
    this.#report = options.report ?? ((error) => console.error('A listener of the store threw:', error))
    this.#notifier = new Notifier(this.#report)
    cores.set(this, this.#core())
  }

  on<P = unknown>(event: string | RegExp, handler: Handler<S, P>): () => void {
    return this.#handlers.on(event, handler as AnyHandler)
  }

  emit(event: string, payload?: unknown): void {
    const name = checkEventName(event)
    const taken = takePayload(payload)
    if (this.#handlers.emittedInside(name, taken)) return
    this.#owner?.admit()
    this.#run(madeEvent(name, taken), undefined)
  }

  getState(): S
  getState<T>(selector: (state: S) => T): T
  getState<T>(selector?: (state: S) => T): S | T {
    const state = this.#tree.value as S
    return selector === undefined ? state : selector(state)
  }

  mutate(mutator: Mutator<S>): S {
    this.#refuseInside('mutate')
    this.#owner?.admit()
    const change = transact(this.#tree, (transaction) => {
      transaction.run((draft) => this.#handlers.exclusively('a mutator', () => mutator(draft as S)))
    })
    if (change.patch.length > 0) this.#changed(change, [], undefined)
    return this.#tree.value as S
  }

  subscribe(listener: StoreListener): () => void {
    return this.#notifier.subscribe(listener)
  }

  readonly volatile = {
    emit: (event: string, payload?: unknown): void => {
      const name = checkEventName(event)
      this.#refuseInside('volatile.emit')
      const emission = madeEvent(name, takePayload(payload))
      this.#observe(emission, undefined)
      this.#owner?.volatile(emission)
    },
  }

  #core(): StoreCore {
    const value = () => this.#tree.value
    const version = () => this.#version
    return {
      get value() {
        return value()
      },
      get version() {
        return version()
      },
      own: (owner) => {
        if (this.#owner !== undefined) throw new TypeError('This store already has a master')
        this.#owner = owner
        return () => void (this.#owner = undefined)
      },
      restore: (restored, atVersion) => {
        this.#tree.reset(restored)
        this.#version = atVersion
        this.#notifier.tell({ version: atVersion, paths: [''] })
      },
      emit: (event, origin) => this.#run(event, origin),
      patch: (patch, origin, verify) => {
        const change = applyIf(this.#tree, patch, verify)
        if (typeof change === 'string') return change
        this.#changed(change, [], origin)
        return 'done'
      },
      volatile: (event, origin) => this.#observe(event, origin),
      pin: () => this.#tree.pin(),
    }
  }

  #run(event: CommittedEvent, origin: Origin | undefined): StoreChange {
    let events: readonly CommittedEvent[] = []
    let change: Change
    try {
      change = transact(this.#tree, (transaction) => {
        events = this.#handlers.run(transaction, event, { phase: 'commit', origin })
      })
    } catch (error) {
      throw NamedMasterError.from(error, 'handler-failed', messageOf(error, `A handler of "${event.event}" threw`))
    }
    return this.#changed(change, events, origin)
  }

  #observe(event: CommittedEvent, origin: EventInfo['origin']): void {
    this.#handlers.observe(() => this.#tree.begin(), event, { phase: 'volatile', origin }, this.#report)
  }

  #changed(change: Change, events: readonly CommittedEvent[], origin: Origin | undefined): StoreChange {
    const stored = { version: ++this.#version, change, events, origin }
    this.#owner?.changed(stored)
    if (change.patch.length > 0) this.#notifier.tell({ version: stored.version, paths: pathsOf(change.writes) })
    return stored
  }

  #refuseInside(what: string): void {
    if (this.#handlers.busy) {
      throw new NamedMasterError(
        'store-busy',
        `${what} cannot be used inside a handler or a mutator; change the state given`,
      )
    }
  }
}

/** Tells listeners after each change, in order: one made by a listener is told when all have heard of the one before. */
export class Notifier {
  readonly #listeners = new Set<{ readonly listener: StoreListener }>()
  readonly #queue: Parameters<StoreListener>[0][] = []
  readonly #report: (error: unknown) => void
  #telling = false

  constructor(report: (error: unknown) => void) {
    this.#report = report
  }

  subscribe(listener: StoreListener): () => void {
    if (typeof listener !== 'function') throw new TypeError('subscribe(listener): the listener must be a function')
    const own = { listener }
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  tell(change: Parameters<StoreListener>[0]): void {
    this.#queue.push(change)
    if (this.#telling) return
    this.#telling = true
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) this.#tellAll(next)
    } finally {
      this.#telling = false
    }
  }

  #tellAll(change: Parameters<StoreListener>[0]): void {
    for (const { listener } of [...this.#listeners]) {
      try {
        listener(change)
      } catch (error) {
        this.#report(error)
      }
    }
  }
}

/** The sentence of what a program threw, or ours where it says nothing. */
export const messageOf = (thrown: unknown, otherwise: string): string =>
  thrown instanceof Error && thrown.message !== '' ? thrown.message : otherwise
