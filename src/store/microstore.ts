/**
 * The microstore contract (seed document 1): what code written against a store may rely on, whichever it has: a local
 * one, a master's, or a slave's.
 */

/**
 * Why a handler runs. `commit`: the event is decided (at the master the result is used; at a slave it is somebody
 * else's event and the result ignored). `predict`: a slave's own emit, before the master has seen it. `rerun`: the
 * state below such a prediction has changed. `volatile`: a message that changes nothing.
 */
export type Phase = 'commit' | 'predict' | 'rerun' | 'volatile'

export interface EventInfo {
  readonly event: string
  readonly phase: Phase
  /** Equal at both ends, as is `at`: use them instead of random ids and the clock. */
  readonly id: string
  /** Milliseconds since 1970, by the sender's clock. */
  readonly at: number
  /** Who emitted it: a client number and its counter (absent on volatile events). Undefined: the master's own program. */
  readonly origin: { readonly client: number; readonly seq?: number } | undefined
}

export type Handler<S, P = unknown> = (state: S, payload: P, info: EventInfo) => S | void
export type Mutator<S> = (state: S) => S | void
/** What is told after a change: JSON pointers of what changed (empty text: all of it). */
export type StoreListener = (change: { readonly version: number; readonly paths: readonly string[] }) => void

export interface Microstore<S> {
  /** Subscribes a handler to an event by name or pattern; returns the function that unsubscribes it. */
  on<P = unknown>(event: string | RegExp, handler: Handler<S, P>): () => void
  emit(event: string, payload?: unknown): void
  getState(): S
  getState<T>(selector: (state: S) => T): T
  /** Returns the new state. */
  mutate(mutator: Mutator<S>): S
  /** Called after any change of the state shown, once per batch. */
  subscribe(listener: StoreListener): () => void
  /** Messages, not changes: not kept, not ordered against changes, dropped when they cannot leave at once. */
  readonly volatile: { emit(event: string, payload?: unknown): void }
}
