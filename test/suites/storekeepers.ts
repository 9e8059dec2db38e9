/**
 * Slaves that keep book: each counts what it did by tokens, and knows which of them were acknowledged, given back, or
 * named as lost, so that what a master has can be held against what it said.
 */
import { expect } from 'chai'
import type { Slave } from 'named-master'

export interface Counted {
  tokens: Record<string, number>
}

export const startingState = (): Counted => ({ tokens: {} })

/** The event that counts a token; the same at both ends. */
export const count = ({ tokens }: Counted, token: string): void => void (tokens[token] = (tokens[token] ?? 0) + 1)

export class Bookkeeper {
  readonly name: string
  readonly slave: Slave<Counted>
  readonly acknowledged = new Set<string>()
  /** Tokens that a `reset` named, and those that came back with a code. */
  readonly lost: string[] = []
  readonly refused = new Map<string, string>()
  /** By seq. */
  readonly #tokens = new Map<number, string>()
  #seq = 0

  /** @param slave which nobody else changes anything through */
  constructor(name: string, slave: Slave<Counted>) {
    this.name = name
    this.slave = slave
    slave.on('count', count)
    slave.events.on('reset', ({ lost }) => {
      for (const seq of lost) {
        const token = this.#tokens.get(seq) as string
        this.lost.push(token)
        this.acknowledged.delete(token)
      }
    })
    slave.events.on('refused', ({ seq, code }) => this.refused.set(this.#tokens.get(seq) as string, code))
  }

  /** Makes so many changes, events and mutates in turn; answers their tokens. */
  make(times: number): string[] {
    return Array.from({ length: times }, () => {
      const seq = ++this.#seq
      const token = `${this.name}-${seq}`
      this.#tokens.set(seq, token)
      if (seq % 2 === 0) this.slave.emit('count', token)
      else this.slave.mutate((state) => count(state, token))
      return token
    })
  }

  /** Makes them, and waits until they are acknowledged. */
  async makeAndSettle(times: number): Promise<string[]> {
    const tokens = this.make(times)
    await this.slave.settled()
    for (const token of tokens) this.acknowledged.add(token)
    return tokens
  }
}

/** What is wrong between what slaves were told and what their master has: nothing, in the end. */
export function discrepancies(state: Counted, books: readonly Bookkeeper[]): string[] {
  const twice = Object.entries(state.tokens).filter(([, times]) => times > 1)
  const missing = books.flatMap(({ acknowledged }) => [...acknowledged].filter((token) => !(token in state.tokens)))
  const diverging = books.filter(({ slave }) => {
    try {
      expect(slave.getState()).to.deep.equal(state)
      return false
    } catch {
      return true
    }
  })
  return [
    ...twice.map(([token, times]) => `${token} counts ${times} times`),
    ...missing.map((token) => `${token} was acknowledged and is not there`),
    ...(diverging.length > 0 ? [`${diverging.length} slaves show something else`] : []),
  ]
}
