/** Time, injected so that tests control it. Not the time of day: envelopes carry that. */

export interface Clock {
  /** Milliseconds since some moment; never goes back. */
  now(): number
  /** Calls once, after at least `ms` milliseconds; returns what `clearTimeout` takes. */
  setTimeout(callback: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
}

/** A clock that ends: what was set on it, or still is, never fires and keeps no process alive. */
export interface Lifetime extends Clock {
  /** Idempotent. */
  end(): void
}

export function lifetime(clock: Clock): Lifetime {
  const timers = new Set<unknown>()
  let over = false
  return {
    now: () => clock.now(),
    setTimeout(callback, ms) {
      if (over) return undefined
      const timer = clock.setTimeout(() => {
        timers.delete(timer)
        callback()
      }, ms)
      timers.add(timer)
      return timer
    },
    clearTimeout(timer) {
      if (timers.delete(timer)) clock.clearTimeout(timer)
    },
    end() {
      over = true
      for (const timer of timers) clock.clearTimeout(timer)
      timers.clear()
    },
  }
}
