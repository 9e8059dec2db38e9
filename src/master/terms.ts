/**
 * Which life of a master wrote which versions, so that a power cut, a backup that was put back and a folder that was
 * copied mislead nobody: a version says what the state is only together with the term that wrote it.
 */
import type { Position } from '../protocol/replication.js'

/** One life: its random id, and the version that it began with. */
export interface Term {
  readonly term: string
  readonly from: number
}

export class Terms {
  /** In their order; the last one goes on. */
  readonly #all: readonly Term[]

  constructor(before: readonly Term[], present: Term) {
    this.#all = [...before, present]
  }

  /** Whether the state at that position is the one that we had at its version. */
  hold({ term, version }: Position): boolean {
    const at = this.#all.findIndex((one) => one.term === term)
    if (at === -1) return false
    // What a life wrote beyond the version that the next one began with was taken back.
    return version <= (this.#all[at + 1]?.from ?? Infinity)
  }
}

/** Without those that ended before a version, which no log reaches back to. */
export const termsSince = (terms: readonly Term[], version: number): readonly Term[] =>
  terms.filter((_, i) => (terms[i + 1]?.from ?? Infinity) >= version)
