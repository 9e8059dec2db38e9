/**
 * Who listens to which event, and the running of one event with all that is emitted inside its handlers.
 *
 * Promises: handlers run one at a time, in the order they were subscribed, each on the state as the one before left it;
 * what they emit queues behind them. RegExps are copied without `g` and `y` and live only here. Nothing is caught: the
 * caller owns the transaction and rolls it back.
 */
import { NamedMasterError } from '../errors.js'
import { newUuid } from '../protocol/envelope.js'
import { copyJson, equalJson, isWellFormed, type JsonValue } from '../protocol/json.js'
import { MAX_EVENT_CHARACTERS, MAX_EVENTS_PER_COMMIT, type CommittedEvent } from '../protocol/replication.js'
import type { EventInfo, Phase } from './microstore.js'
import { deepFreeze } from './ledger.js'
import type { Transaction } from './tree.js'

/** Any store's handler; what it is given was checked by whoever runs it. */
export type AnyHandler = (state: unknown, payload: unknown, info: EventInfo) => unknown

interface Subscription {
  readonly order: number
  readonly pattern: RegExp | undefined
  readonly handler: AnyHandler
}

/** What an emit inside a handler does: it joins the event, is left out with a warning, or is an error. */
type Inside = { readonly emit: (event: string, payload: JsonValue | undefined) => void }

export interface Run {
  readonly phase: Phase
  readonly origin: EventInfo['origin']
  /** For an event that may run again: empty at first, filled and read here. */
  readonly idle?: IdleRuns
}

/** Of the latest run, event by event: the subscriptions that did nothing, and are not run again for it. */
export type IdleRuns = { readonly event: CommittedEvent; readonly subscriptions: Set<object> }[]

export class Handlers {
  readonly #named = new Map<string, Subscription[]>()
  #patterns: readonly Subscription[] = []
  #order = 0
  #inside: Inside | undefined
  readonly #warn: (sentence: string) => void

  constructor(warn: (sentence: string) => void = (sentence) => console.warn(sentence)) {
    this.#warn = warn
  }

  on(event: string | RegExp, handler: AnyHandler): () => void {
    if (typeof handler !== 'function') throw new TypeError('on(event, handler): the handler must be a function')
    const order = this.#order++
    if (event instanceof RegExp) {
      const pattern = new RegExp(event.source, event.flags.replace(/[gy]/g, ''))
      const subscription = { order, pattern, handler }
      this.#patterns = [...this.#patterns, subscription]
      return () => void (this.#patterns = this.#patterns.filter((other) => other !== subscription))
    }
    const name = checkEventName(event)
    const subscription = { order, pattern: undefined, handler }
    this.#named.set(name, [...(this.#named.get(name) ?? []), subscription])
    return () => {
      const rest = (this.#named.get(name) ?? []).filter((other) => other !== subscription)
      if (rest.length === 0) this.#named.delete(name)
      else this.#named.set(name, rest)
    }
  }

  /** Whether a handler or a mutator is running: then the state may not be changed from outside. */
  get busy(): boolean {
    return this.#inside !== undefined
  }

  /** True when the emit was made inside a handler and has been dealt with. Throws `store-busy` where none may be made. */
  emittedInside(event: string, payload: JsonValue | undefined): boolean {
    if (this.#inside === undefined) return false
    this.#inside.emit(event, payload)
    return true
  }

  /** Whether running this event again would run nothing. */
  rests(event: CommittedEvent, idle: IdleRuns): boolean {
    const latest = idle[0]?.subscriptions
    return this.#matching(event.event).every((subscription) => latest?.has(subscription) === true)
  }

  /** Runs a mutator (or anything that must not emit): an emit or a mutate inside throws `store-busy`. */
  exclusively<T>(what: string, program: () => T): T {
    return this.#within({ emit: () => throwBusy(what) }, program)
  }

  /** Runs the event and all that is emitted inside; answers all of them, in order, as they are committed. */
  run(transaction: Transaction, outer: CommittedEvent, run: Run): readonly CommittedEvent[] {
    const queue: CommittedEvent[] = [outer]
    let emitted = false
    let overflow: NamedMasterError | undefined
    const inside: Inside = {
      emit: (event, payload) => {
        emitted = true
        if (queue.length === MAX_EVENTS_PER_COMMIT) {
          const sentence = `"${outer.event}" emitted over ${MAX_EVENTS_PER_COMMIT} events`
          throw (overflow = new NamedMasterError('handler-failed', sentence))
        }
        const id = `${outer.id}/${queue.length}`
        queue.push({ event, id, at: outer.at, ...(payload === undefined ? {} : { payload }) })
      },
    }
    for (let i = 0; i < queue.length; i++) {
      const event = queue[i] as CommittedEvent
      const idle = run.idle === undefined ? undefined : idleAt(run.idle, i, event)
      for (const subscription of this.#matching(event.event)) {
        if (idle?.has(subscription) === true) continue
        emitted = false
        const changed = this.#within(inside, () => runOne(transaction, subscription, event, run))
        // Also when the handler caught it.
        if (overflow !== undefined) throw overflow
        if (changed || emitted) idle?.delete(subscription)
        else idle?.add(subscription)
      }
    }
    return queue
  }

  /** Runs the handlers of an event that is decided already, or changes nothing: each on a draft that is thrown away. */
  observe(begin: () => Transaction, event: CommittedEvent, run: Run, report: (error: unknown) => void): void {
    const inside: Inside = {
      emit: (name) => {
        if (run.phase === 'volatile') throwBusy('a handler of a volatile event')
        this.#warn(
          `emit("${name}") inside a handler for another's "${event.event}" was ignored; to answer it, emit from a microtask`,
        )
      },
    }
    for (const subscription of this.#matching(event.event)) {
      const transaction = begin()
      try {
        this.#within(inside, () => runOne(transaction, subscription, event, run))
      } catch (error) {
        report(error)
      } finally {
        transaction.rollback()
      }
    }
  }

  #matching(event: string): readonly Subscription[] {
    const named = this.#named.get(event) ?? []
    if (this.#patterns.length === 0) return named
    const patterns = this.#patterns.filter(({ pattern }) => pattern?.test(event))
    return patterns.length === 0 ? named : [...named, ...patterns].sort((a, b) => a.order - b.order)
  }

  #within<T>(inside: Inside, program: () => T): T {
    const outer = this.#inside
    this.#inside = inside
    try {
      return program()
    } finally {
      this.#inside = outer
    }
  }
}

/** What was idle for this event, or for the same one in its place; what is emitted inside may differ from run to run. */
function idleAt(runs: IdleRuns, index: number, event: CommittedEvent): Set<object> {
  const latest = runs[index]
  const same = latest?.event.event === event.event && equalJson(latest.event.payload, event.payload)
  const subscriptions = same ? latest.subscriptions : new Set<object>()
  runs[index] = { event, subscriptions }
  return subscriptions
}

function runOne(transaction: Transaction, subscription: Subscription, event: CommittedEvent, run: Run): boolean {
  // Where it was parsed nobody has frozen it yet.
  deepFreeze(event.payload)
  const info: EventInfo = { event: event.event, phase: run.phase, id: event.id, at: event.at, origin: run.origin }
  return transaction.run((draft) => subscription.handler(draft, event.payload, info))
}

function throwBusy(what: string): never {
  throw new NamedMasterError('store-busy', `The store cannot be changed from inside ${what}`)
}

/** The name of an event or a method as it may travel, or a TypeError. */
export function checkEventName(event: unknown): string {
  const fits = typeof event === 'string' && event.length > 0 && event.length <= MAX_EVENT_CHARACTERS
  if (fits && isWellFormed(event)) return event
  throw new TypeError(
    `The name of an event or a method is a text of 1 to ${MAX_EVENT_CHARACTERS} characters without lone surrogates`,
  )
}

/** An event of this end's own, with the id and the time that both ends will see. */
export const madeEvent = (event: string, payload: JsonValue | undefined): CommittedEvent => ({
  event,
  id: newUuid(),
  at: Date.now(),
  ...(payload === undefined ? {} : { payload }),
})

/** A payload as it travels: copied, checked and frozen, so that no handler can change it for the next. */
export function takePayload(payload: unknown): JsonValue | undefined {
  if (payload === undefined) return undefined
  const copied = copyJson(payload)
  if (!copied.ok)
    throw new NamedMasterError('invalid-json', `The payload cannot travel: ${copied.reason} (at "${copied.path}")`)
  return deepFreeze(copied.value)
}
