import type { Clock } from '#src/clock.js'

/** A clock that stands still until it is told. */
export class ManualClock implements Clock {
  #now = 0
  #last = 0
  readonly #timers = new Map<number, { readonly due: number; readonly callback: () => void }>()

  now(): number {
    return this.#now
  }

  setTimeout(callback: () => void, ms: number): number {
    this.#timers.set(++this.#last, { due: this.#now + ms, callback })
    return this.#last
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  get timers(): number {
    return this.#timers.size
  }

  /** Lets the time pass, timer by timer, and what each of them causes. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (await settled(); ; await settled()) {
      const [id, timer] = [...this.#timers].sort(([, a], [, b]) => a.due - b.due)[0] ?? []
      if (id === undefined || timer === undefined || timer.due > end) break
      this.#now = Math.max(this.#now, timer.due)
      this.#timers.delete(id)
      timer.callback()
    }
    this.#now = end
  }

  /** Lets the time pass while nothing runs, as when a laptop sleeps: timers come late. */
  async sleep(ms: number): Promise<void> {
    this.#now += ms
    await this.advance(0)
  }
}

/** All microtasks so far have run, and those they caused. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
