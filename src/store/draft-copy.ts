/**
 * What `with` and `toSpliced` of a wide array in a draft answer: an array that is not made before somebody looks at it.
 *
 * Promises: to the program it is a plain array, with drafts of the elements as they were when it asked. One that is only
 * returned as part of a new state is never made: its stretch says what differs.
 */
import type { ArrayNode } from './draft-node.js'

/** All elements of an array but those from `start` to `end`, and these values of the program instead. */
export interface Stretch {
  readonly node: ArrayNode
  readonly start: number
  readonly end: number
  readonly values: readonly unknown[]
}

/** The array in full. */
export function elementsWith({ node, start, end, values }: Stretch): unknown[] {
  const elements: unknown[] = []
  const take = (from: number, to: number): void => {
    for (let i = from; i < to; i++) elements.push(node.element(node.content[i], i))
  }
  take(0, start)
  for (const value of values) elements.push(value)
  take(end, node.content.length)
  return elements
}

const TRAPS = [
  'get',
  'set',
  'has',
  'ownKeys',
  'getOwnPropertyDescriptor',
  'defineProperty',
  'deleteProperty',
  'preventExtensions',
] as const

/** The array, and what makes it: to be called, if nobody looked at it before, when its elements are about to change. */
export function arrayToBe(
  stretch: Stretch,
  made: () => void,
): { readonly array: unknown[]; readonly make: () => void } {
  const target: unknown[] = []
  const handler: Record<string, (...args: never[]) => unknown> = {}
  const make = (): void => {
    stretch.node.alive()
    for (const trap of TRAPS) delete handler[trap]
    for (const element of elementsWith(stretch)) target.push(element)
    made()
  }
  for (const trap of TRAPS) {
    handler[trap] = (...args) => {
      make()
      return (Reflect[trap] as (...args: never[]) => unknown)(...args)
    }
  }
  return { array: new Proxy(target, handler), make }
}
