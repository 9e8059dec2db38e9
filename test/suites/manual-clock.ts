import type { Clock } from '#src/clock.js'

interface Timer {
  readonly id: number
  readonly due: number
  readonly callback: () => void
}

/** More than this many callbacks in one `advance` are a circle that no time ends. */
const MAX_CALLBACKS = 1_000_000

/** A clock that stands still until it is told. */
export class ManualClock implements Clock {
  #now = 0
  #last = 0
  readonly #pending = new Set<number>()
  /** By when they are due, and among equals by age; those that were cleared are still here, until it is their turn. */
  readonly #queue: Timer[] = []

  now(): number {
    return this.#now
  }

  setTimeout(callback: () => void, ms: number): number {
    const id = ++this.#last
    const due = this.#now + ms
    this.#pending.add(id)
    this.#queue.splice(this.#firstAfter(due), 0, { id, due, callback })
    return id
  }

  clearTimeout(timer: unknown): void {
    this.#pending.delete(timer as number)
  }

  get timers(): number {
    return this.#pending.size
  }

  /** Lets the time pass, timer by timer, and what each of them causes. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settled()
    for (let callbacks = 0; (this.#queue[0]?.due ?? Infinity) <= end;) {
      const { id, due, callback } = this.#queue.shift()!
      if (!this.#pending.delete(id)) continue
      if (++callbacks > MAX_CALLBACKS) throw new Error(`${MAX_CALLBACKS} timers ran within ${ms} ms, and more are due`)
      this.#now = Math.max(this.#now, due)
      callback()
      await settled()
    }
    this.#now = end
  }

  /** Lets the time pass while nothing runs, as when a laptop sleeps: timers come late. */
  async sleep(ms: number): Promise<void> {
    this.#now += ms
    await this.advance(0)
  }

  #firstAfter(due: number): number {
    let low = 0
    let high = this.#queue.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#queue[middle]!.due <= due) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** All microtasks so far have run, and those they caused. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
