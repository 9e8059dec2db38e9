/** Stores with the contract's four methods, as others may have written them. None of them knows of this package. */

export interface State {
  n: number
  list: unknown[]
  deep: { x: unknown }
}
type ForeignHandler = (payload: unknown) => void

export const initialState = (): State => ({ n: 0, list: [1, 2], deep: { x: 0 } })

/** A bare object with the four methods, whose mutators return a new state. */
export class SomeStore {
  handlers = new Map<string, ForeignHandler[]>()
  constructor(public state: State = initialState()) {}

  on(event: string, handler: ForeignHandler): void {
    this.handlers.set(event, [...(this.handlers.get(event) ?? []), handler])
  }
  emit(event: string, payload?: unknown): void {
    for (const handler of this.handlers.get(event) ?? []) handler(payload)
  }
  getState(): State {
    return this.state
  }
  mutate(mutator: (state: State) => State | void): void {
    this.state = mutator(this.state) ?? this.state
  }
}

/** One that tells what changed. */
export class TellingStore extends SomeStore {
  listeners = new Set<() => void>()
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }
  override mutate(mutator: (state: State) => State | void): void {
    super.mutate(mutator)
    this.tell()
  }
  tell(): void {
    for (const listener of this.listeners) listener()
  }
}

/** One that tells late, and more than once. */
export class LateStore extends TellingStore {
  override tell(): void {
    for (let times = 0; times < 3; times++) queueMicrotask(() => super.tell())
  }
}

/** One whose mutators change the state they are given, and may not return another. */
export class InPlaceStore extends SomeStore {
  override mutate(mutator: (state: State) => State | void): void {
    mutator(this.state)
  }
}
