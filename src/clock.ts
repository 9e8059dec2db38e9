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
