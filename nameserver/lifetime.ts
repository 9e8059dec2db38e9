/** A clock that ends: what a closed name server has started, or still starts, never fires and keeps no process alive. */
import type { Clock } from '../src/clock.js'

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
