/**
 * The array methods of a draft that do not run through its traps.
 *
 * Promises: they answer and change what those of Array.prototype would, on the content itself. All others (map, filter,
 * slice, ...) are the engine's own, working on the draft.
 */
import type { JsonValue } from '../protocol/json.js'
import type { ArrayNode } from './draft-node.js'
import { isContainer } from './ledger.js'

/** What to look for in the content when a program looks for a value; undefined: it cannot be there. */
const sought = (node: ArrayNode, value: unknown): JsonValue | undefined =>
  isContainer(value) ? node.session.nodeOf(value)?.content : (value as JsonValue | undefined)

const integer = (value: unknown): number => Math.trunc(Number(value)) || 0

type SpliceArguments = [start?: number, deleteCount?: number, ...values: unknown[]]

/** What `splice` and `toSpliced` are to take away, and to put there. */
function spliced(length: number, args: SpliceArguments): { start: number; count: number; values: unknown[] } {
  if (args.length === 0) return { start: 0, count: 0, values: [] }
  const relative = integer(args[0])
  const start = relative < 0 ? Math.max(length + relative, 0) : Math.min(relative, length)
  const count = args.length === 1 ? length - start : Math.min(Math.max(integer(args[1]), 0), length - start)
  return { start, count, values: args.slice(2) }
}

/** Methods that move many elements run on the content itself: as traps, each would be a hundred thousand calls. */
export const arrayMethodsOn = (
  arrayNode: (draft: unknown) => ArrayNode,
): Readonly<Record<string, (this: unknown, ...args: never[]) => unknown>> => ({
  push(...values: unknown[]) {
    const node = arrayNode(this)
    for (const value of values) node.setIndex(node.content.length, value)
    return node.content.length
  },
  pop() {
    const node = arrayNode(this)
    const last = node.content.length - 1
    if (last < 0) return undefined
    const value = node.element(node.content[last], last)
    node.shorten(last)
    return value
  },
  shift() {
    const node = arrayNode(this)
    if (node.content.length === 0) return undefined
    const value = node.element(node.content[0], 0)
    node.rearrange((content) => content.shift())
    return value
  },
  unshift(...values: unknown[]) {
    const node = arrayNode(this)
    const entering = node.entering(values, 0)
    if (entering.length > 0) node.rearrange((content) => content.unshift(...entering))
    return node.content.length
  },
  splice(...args: SpliceArguments) {
    const node = arrayNode(this)
    if (args.length === 0) return []
    const { length } = node.content
    const { start, count, values } = spliced(length, args)
    const removed = node.content.slice(start, start + count).map((value, i) => node.element(value, start + i))
    if (values.length === 0 && start + count === length) {
      if (count > 0) node.shorten(start)
    } else if (start === length) {
      values.forEach((value, i) => node.setIndex(start + i, value))
    } else if (count + values.length > 0) {
      const entering = node.entering(values, start)
      node.rearrange((content) => content.splice(start, count, ...entering))
    }
    return removed
  },
  toSpliced(...args: SpliceArguments) {
    const node = arrayNode(this)
    const { start, count, values } = spliced(node.content.length, args)
    return node.copyWith(start, start + count, values)
  },
  with(index: number, value: unknown) {
    const node = arrayNode(this)
    const { length } = node.content
    const relative = integer(index)
    const actual = relative < 0 ? length + relative : relative
    if (actual < 0 || actual >= length) throw new RangeError(`Invalid index : ${index}`)
    return node.copyWith(actual, actual + 1, [value])
  },
  reverse() {
    const node = arrayNode(this)
    if (node.content.length > 1) node.rearrange((content) => content.reverse())
    return this
  },
  sort(compare?: (a: unknown, b: unknown) => number) {
    const node = arrayNode(this)
    const sorted = node.content.map((value, i) => node.element(value, i)).sort(compare)
    node.rearrange((content) => {
      sorted.forEach((value, i) => (content[i] = sought(node, value) as JsonValue))
    })
    return this
  },
  fill(value: unknown, start?: number, end?: number) {
    const node = arrayNode(this)
    const filled = Array.from(node.content, () => false).fill(true, start, end)
    filled.forEach((fill, i) => fill && node.setIndex(i, value))
    return this
  },
  copyWithin(target: number, start: number, end?: number) {
    const node = arrayNode(this)
    const elements = node.content.map((value, i) => node.element(value, i)).copyWithin(target, start, end)
    elements.forEach((value, i) => node.setIndex(i, value))
    return this
  },
  indexOf(value: unknown, ...from: number[]) {
    const node = arrayNode(this)
    const raw = sought(node, value)
    return raw === undefined ? -1 : node.content.indexOf(raw, ...from)
  },
  lastIndexOf(value: unknown, ...from: number[]) {
    const node = arrayNode(this)
    const raw = sought(node, value)
    return raw === undefined ? -1 : (node.content.lastIndexOf as (...args: unknown[]) => number)(raw, ...from)
  },
  includes(value: unknown, ...from: number[]) {
    const node = arrayNode(this)
    const raw = sought(node, value)
    return raw !== undefined && node.content.includes(raw, ...from)
  },
})
