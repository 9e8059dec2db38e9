/**
 * A clock that stands still until it is told: what takes ten minutes takes none, and happens in the same order each time.
 *
 * Promises: timers fire in the order in which they are due, and among equals in that in which they were set; between two
 * of them all promises that the first one settled have gone on. It knows nothing of timers that others set with
 * `setTimeout`, nor of what another thread or a real disk does.
 */
import type { Clock } from '../clock.js'

interface Timer {
  readonly id: number
  readonly due: number
  readonly callback: () => void
}

/** More than this many callbacks in one `advance` are a circle that no time ends. */
const MAX_CALLBACKS = 1_000_000

/** How far `until` lets the time pass at most, in milliseconds: twice what a call or a join may take. */
const UNTIL_MS = 60_000

export class ManualClock implements Clock {
  #now = 0
  #last = 0
  readonly #pending = new Set<number>()
  /** By when they are due, and among equals by age; those that were cleared are still here, until it is their turn. */
  readonly #queue: Timer[] = []

  /** Milliseconds since the clock was made. */
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

  /** How many are set and have not fired. */
  get timers(): number {
    return this.#pending.size
  }

  /**
   * Lets the time pass, timer by timer, and what each of them causes. Zero milliseconds: whatever needs no time happens.
   * @throws Error when timers set each other without end
   */
  async advance(ms: number): Promise<void> {
    if (!(ms >= 0)) throw new TypeError(`advance(ms): ${ms} is no number of milliseconds from 0 on`)
    const end = this.#now + ms
    await settled()
    for (let callbacks = 0, next = this.#queue[0]; next !== undefined && next.due <= end; next = this.#queue[0]) {
      const { id, due, callback } = next
      this.#queue.shift()
      if (!this.#pending.delete(id)) continue
      if (++callbacks > MAX_CALLBACKS) throw new Error(`${MAX_CALLBACKS} timers ran within ${ms} ms, and more are due`)
      this.#now = Math.max(this.#now, due)
      callback()
      await settled()
    }
    this.#now = end
  }

  /** Lets the time pass while nothing runs, as when a laptop sleeps: timers come late, all at its end. */
  async sleep(ms: number): Promise<void> {
    this.#now += ms
    await this.advance(0)
  }

  /**
   * Lets the time pass until a promise is settled, and answers what it came to.
   * @param within milliseconds; 60,000 by default
   * @param what of which the error speaks when it is not
   * @throws what the promise rejects with; Error when it is not settled within that time
   */
  async until<T>(work: Promise<T>, within = UNTIL_MS, what = 'What was waited for'): Promise<T> {
    let over = false
    const done = (): void => void (over = true)
    work.then(done, done)
    const end = this.#now + within
    await settled()
    while (!over && this.#now < end) await this.advance(Math.min(this.#untilNext(), end - this.#now))
    if (!over) throw new Error(`${what} did not end within ${within} ms`)
    return work
  }

  /** Milliseconds until the next timer is due; infinite when there is none. */
  #untilNext(): number {
    while (this.#queue[0] !== undefined && !this.#pending.has(this.#queue[0].id)) this.#queue.shift()
    return Math.max(0, (this.#queue[0]?.due ?? Infinity) - this.#now)
  }

  #firstAfter(due: number): number {
    let low = 0
    let high = this.#queue.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#queue[middle] as Timer).due <= due) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** All microtasks so far have run, and those they caused. */
const settled: () => Promise<void> =
  typeof setImmediate === 'function'
    ? () => new Promise((resolve) => void setImmediate(resolve))
    : () =>
        new Promise((resolve) => {
          const { port1, port2 } = new MessageChannel()
          port1.onmessage = () => {
            port1.close()
            resolve()
          }
          port2.postMessage(undefined)
        })
