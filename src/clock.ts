/** Time, injected, so that tests own it. */

export interface Clock {
  /** Milliseconds that only grow; their zero means nothing. */
  now(): number
  /** Milliseconds since 1970, for people. */
  date(): number
  setTimeout(callback: () => void, milliseconds: number): Timer
  clearTimeout(timer: Timer | undefined): void
}

/** What a clock's setTimeout returned; only its clock can read it. */
export type Timer = { readonly timer: unique symbol } | object | number

export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout> | undefined),
}
