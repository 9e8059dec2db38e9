/** What a row is given: processes, interleaved rounds, and progress. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child } from './child.mjs'

/**
 * @typedef {object} Measure one line of the results
 * @property {string} what
 * @property {string} unit
 * @property {Record<string, number[]>} rounds what each contender measured, round by round
 * @property {Aim[]} aims
 *
 * @typedef {object} Aim what is compared, and what it should be
 * @property {string} of a contender
 * @property {string} [against] another: their ratio is judged; else the value itself
 * @property {number} [atMost]
 * @property {number} [atLeast] neither: the ratio is only shown
 */

export class Bench {
  #id
  #children = []
  #profiles

  /**
   * @param id of the row
   * @param quick two to three minutes for all rows, instead of fifteen
   * @param profiles a folder, when the processes are to be profiled
   */
  constructor(id, quick, profiles) {
    this.#id = id
    this.quick = quick
    this.#profiles = profiles
  }

  /** One of the row's processes. */
  start(role) {
    const file = fileURLToPath(new URL(`rows/${this.#id}.mjs`, import.meta.url))
    const child = new Child(file, role, this.#profiles && join(this.#profiles, this.#id, role))
    // The others may wait for what it will never do.
    child.once('died', (error) => this.#children.forEach((other) => other.fail(error)))
    this.#children.push(child)
    return child
  }

  /** What differs between the quick and the full run. */
  size(quick, full) {
    return this.quick ? quick : full
  }

  /**
   * One round of each contender after the other, again and again, so that what disturbs the machine disturbs all alike.
   * The first round warms up and is dropped.
   * @param count of rounds that are kept
   * @param contenders by name: a function that answers what it measured, as numbers by name
   * @param warmUp how many rounds are dropped
   * @returns by what was measured, then by contender: the rounds
   */
  async interleave(count, contenders, warmUp = 1) {
    const measured = {}
    for (let round = -warmUp; round < count; round++) {
      for (const [name, measure] of Object.entries(contenders)) {
        const figures = await measure()
        if (round >= 0) this.#keep(measured, name, figures)
      }
      process.stderr.write('.')
    }
    return measured
  }

  #keep(measured, name, figures) {
    for (const [what, figure] of Object.entries(figures)) {
      if (!Number.isFinite(figure)) throw new Error(`${name} measured ${figure} as ${what}`)
      measured[what] ??= {}
      measured[what][name] ??= []
      measured[what][name].push(figure)
    }
  }

  /** Ends processes before the row's end: all of them, or these. */
  async end(children = this.#children) {
    await Promise.all(children.map((child) => child.end()))
    this.#children = this.#children.filter((child) => !children.includes(child))
  }
}
