/** A typed emitter that a throwing listener cannot break: its error is reported apart, the others are still told. */

/** What each event is told with. An interface that names its events is one, and then no other name compiles. */
export type EventMap<Map> = { readonly [E in keyof Map]: readonly unknown[] }
type Listener<Args extends readonly unknown[]> = (...args: Args) => void

export class Events<Map extends EventMap<Map>> {
  /** Not by `keyof Map`: whoever tells more events may stand where fewer are asked for. */
  readonly #listeners = new globalThis.Map<PropertyKey, Set<Listener<never>>>()
  readonly #report: (error: unknown) => void

  /** @param report gets what a listener threw; by default the console */
  constructor(report: (error: unknown) => void = (error) => console.error('A listener threw:', error)) {
    this.#report = report
  }

  /** Returns the function that removes the listener. */
  on<E extends keyof Map>(event: E, listener: Listener<Map[E]>): () => void {
    const own: Listener<Map[E]> = (...args) => listener(...args)
    let listeners = this.#listeners.get(event)
    if (listeners === undefined) this.#listeners.set(event, (listeners = new Set()))
    listeners.add(own)
    return () => void this.#listeners.get(event)?.delete(own)
  }

  once<E extends keyof Map>(event: E, listener: Listener<Map[E]>): () => void {
    const off = this.on(event, (...args) => {
      off()
      listener(...args)
    })
    return off
  }

  emit<E extends keyof Map>(event: E, ...args: Map[E]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        ;(listener as Listener<Map[E]>)(...args)
      } catch (error) {
        this.#report(error)
      }
    }
  }
}
