/**
 * The nodes behind a draft: one per container that the program has looked at, with the traps of its proxy.
 *
 * The content is always the real one, with no proxies in it; the ledger copies or records it before the first write.
 * A node that was opened for writing keeps its content's identity until the end of the transaction; that is what makes
 * aliases (the same draft in two places) behave as they do on plain data while the program runs.
 */
import { NamedMasterError } from '../errors.js'
import { checkJson, copyJson, isForbiddenKey, MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import { arrayMethodsOn } from './draft-array.js'
import { arrayToBe, elementsWith, type Stretch } from './draft-copy.js'
import { ABSENT, isArray, isContainer, isNarrow, type Container, type JsonObject, type Ledger } from './ledger.js'
import { parseIndex, pointerTo } from './patch.js'

export const invalid = (path: string, reason: string): NamedMasterError =>
  new NamedMasterError('invalid-json', `The state cannot hold what was put at "${path}": ${reason}.`)

/**
 * Asks a draft for its node. (A WeakMap from drafts to nodes made the garbage collector take most of the time of a
 * handler that looks at many items.)
 */
const NODE: unique symbol = Symbol('node')

const nodeBehind = (value: unknown): Node | undefined =>
  isContainer(value) ? (value as { readonly [NODE]?: Node })[NODE] : undefined

/**
 * The targets of all proxies. Not the content: the invariants of proxies would bite on a frozen one. Not one each: that
 * takes three times as long as the proxy and its node together. No trap lets anything through to them.
 */
const OBJECT: object = {}
const ARRAY: object = []

/** What one run of a program shares among its drafts. */
export class Session {
  readonly ledger: Ledger
  /** Until the program has returned. */
  live = true
  changed = false
  /** Nodes by their content. */
  readonly nodes = new Map<Container, Node>()
  /** Drafts that were put somewhere: only these can be in the state twice. */
  readonly placed = new Set<Node>()
  /** Copies of arrays that nobody has looked at. */
  readonly copies = new Map<object, Stretch>()

  constructor(ledger: Ledger) {
    this.ledger = ledger
  }

  /** The node of a draft of this run. */
  nodeOf(value: unknown): Node | undefined {
    const node = nodeBehind(value)
    return node?.session === this ? node : undefined
  }

  draftOf(content: Container, parent: Node | undefined, key: string | number): object {
    let node = this.nodes.get(content)
    if (node === undefined) {
      node = isArray(content) ? new ArrayNode(this, content, parent, key) : new ObjectNode(this, content, parent, key)
      this.nodes.set(content, node)
    } else if (parent !== undefined && node.parent === parent && isArray(parent.content)) {
      // Elements move; in an object it stays where it was found, and other places are known as such.
      node.key = key
    }
    return node.draft
  }

  /**
   * The door: a program's value as the state may hold it at a place. Plain values are copied, drafts resolved.
   * @param levels how deep the value may nest there
   */
  enter(value: unknown, levels: number, path: () => string, holder?: Container, key: string | number = ''): JsonValue {
    const adopted = new Map<Container, Node>()
    const resolve = (object: object): JsonValue | undefined => {
      const node = this.nodeOf(object)
      if (node === undefined) return undefined
      node.place()
      adopted.set(node.content, node)
      return node.content
    }
    const copied = copyJson(value, resolve, levels)
    if (!copied.ok) throw invalid(`${path()}${copied.path}`, copied.reason)
    return adopted.size === 0 ? copied.value : this.#settleIn(copied.value, adopted, holder, key)
  }

  /** Tells the drafts in a new value where they are now, and writes what they have become meanwhile. */
  #settleIn(
    made: JsonValue,
    adopted: ReadonlyMap<Container, Node>,
    holder: Container | undefined,
    key: string | number,
  ): JsonValue {
    if (!isContainer(made)) return made
    const node = adopted.get(made)
    if (node !== undefined) {
      if (holder !== undefined) node.isAlsoAt(holder, key)
      return node.content
    }
    this.ledger.adopt(made)
    if (isArray(made)) made.forEach((child, i) => (made[i] = this.#settleIn(child, adopted, made, i)))
    else {
      const object: JsonObject = made
      for (const [name, child] of Object.entries(object)) object[name] = this.#settleIn(child, adopted, object, name)
    }
    return made
  }
}

abstract class Node<C extends Container = Container> implements ProxyHandler<object> {
  readonly session: Session
  readonly draft: object
  /** Where it was found; the key is a hint, since an array's own methods move elements without telling. */
  readonly parent: Node | undefined
  key: string | number
  content: C
  #open = false
  /** Where else the program has put it. */
  #places: { readonly holder: Container; readonly key: string | number }[] | undefined

  constructor(session: Session, content: C, parent: Node | undefined, key: string | number) {
    this.session = session
    this.content = content
    this.parent = parent
    this.key = key
    this.draft = new Proxy<object>(isArray(content) ? ARRAY : OBJECT, this)
  }

  /** Makes the content writable, and with it all above it. */
  open(): C {
    if (this.#open) return this.content
    this.parent?.open()
    const { ledger, nodes } = this.session
    const before = this.content
    this.content = ledger.writable(before)
    this.#open = true
    if (this.content !== before) {
      nodes.delete(before)
      nodes.set(this.content, this)
    }
    if (this.parent === undefined) ledger.root = this.content
    else this.#link(this.parent.content, this.key, before)
    for (const { holder, key } of this.#places ?? []) this.#link(holder, key, before)
    return this.content
  }

  /** Puts the content where `before` is; does nothing where it is no more. */
  #link(holder: Container, key: string | number, before: Container): void {
    const { ledger } = this.session
    if (!isArray(holder)) {
      if (holder[key] === before) ledger.setKey(holder, String(key), this.content)
      return
    }
    if (holder[Number(key)] === before) {
      ledger.setElement(holder, Number(key), this.content)
      if (this.#places === undefined) return
    }
    for (let i = holder.indexOf(before); i !== -1; i = holder.indexOf(before, i + 1)) {
      ledger.setElement(holder, i, this.content)
    }
  }

  /** The program puts this draft somewhere: from now on all places that hold it are among what was changed. */
  place(): void {
    this.session.placed.add(this)
    if (this.parent === undefined) return
    const holder: Container = this.parent.open()
    // In an array the search for doubles looks at every element anyway.
    if (!isArray(holder)) this.#link(holder, this.key, this.content)
  }

  isAlsoAt(holder: Container, key: string | number): void {
    if (!this.#open) (this.#places ??= []).push({ holder, key })
  }

  /** Levels of containers above this one. */
  get depth(): number {
    return this.parent === undefined ? 0 : this.parent.depth + 1
  }

  get path(): string {
    if (this.parent === undefined) return ''
    const holder: Container = this.parent.content
    const key = isArray(holder) && holder[Number(this.key)] !== this.content ? holder.indexOf(this.content) : this.key
    return pointerTo(this.parent.path, key)
  }

  protected seen(value: JsonValue, key: string | number): unknown {
    return isContainer(value) ? this.session.draftOf(value, this, key) : value
  }

  protected enter(value: unknown, key: string | number): JsonValue {
    const levels = MAX_DEPTH - this.depth - 1
    return this.session.enter(value, levels, () => pointerTo(this.path, key), this.content, key)
  }

  /** Whether this very value is there already. */
  protected holds(there: JsonValue, value: unknown): boolean {
    return isContainer(there) ? this.session.nodeOf(value)?.content === there : there === value
  }

  alive(): void {
    if (!this.session.live) {
      throw new TypeError(
        'This state was handed to a handler or mutator that has returned: it can no longer be used. Handlers are synchronous; afterwards ask getState().',
      )
    }
  }

  has(_target: object, key: string | symbol): boolean {
    this.alive()
    return Reflect.has(this.content, key)
  }

  ownKeys(): (string | symbol)[] {
    this.alive()
    // JSON has no other keys; asking an object for all it may have takes twice as long.
    return isArray(this.content) ? Reflect.ownKeys(this.content) : Object.keys(this.content)
  }

  getOwnPropertyDescriptor(_target: object, key: string | symbol): PropertyDescriptor | undefined {
    this.alive()
    if (typeof key === 'symbol' || !Object.hasOwn(this.content, key)) return undefined
    const fixed = isArray(this.content) && key === 'length'
    const value = this.seen((this.content as JsonObject)[key] as JsonValue, key)
    return { value, writable: true, enumerable: !fixed, configurable: !fixed }
  }

  defineProperty(): boolean {
    throw new TypeError('The state has plain properties only: assign them.')
  }

  setPrototypeOf(): boolean {
    throw new TypeError('The state is plain data: its prototype cannot be set.')
  }

  preventExtensions(): boolean {
    throw new TypeError('A draft of the state cannot be frozen, sealed or closed to new properties.')
  }

  protected refuseSymbol(key: string | symbol): asserts key is string {
    if (typeof key === 'symbol') throw new TypeError(`The state is JSON: it has no property ${String(key)}.`)
  }

  abstract get(target: object, key: string | symbol, receiver: unknown): unknown
  abstract set(target: object, key: string | symbol, value: unknown): boolean
  abstract deleteProperty(target: object, key: string | symbol): boolean
}
export type { Node }

class ObjectNode extends Node<JsonObject> {
  override get(target: object, key: string | symbol, receiver: unknown): unknown {
    if (key === NODE) return receiver === this.draft ? this : undefined
    this.alive()
    if (typeof key === 'symbol' || !Object.hasOwn(this.content, key)) return Reflect.get(target, key, receiver)
    return this.seen(this.content[key] as JsonValue, key)
  }

  override set(_target: object, key: string | symbol, value: unknown): boolean {
    this.alive()
    this.refuseSymbol(key)
    if (value === undefined) return this.deleteProperty(_target, key)
    if (Object.hasOwn(this.content, key)) {
      if (this.holds(this.content[key] as JsonValue, value)) return true
    } else if (isForbiddenKey(key)) {
      throw invalid(pointerTo(this.path, key), `the key "${key}" is forbidden`)
    } else if (!checkJson(key).ok) {
      throw invalid(this.path, 'the key has a lone surrogate')
    }
    this.open()
    const entered = this.enter(value, key)
    this.session.ledger.setKey(this.content, key, entered)
    this.session.changed = true
    return true
  }

  override deleteProperty(_target: object, key: string | symbol): boolean {
    this.alive()
    if (typeof key === 'symbol' || !Object.hasOwn(this.content, key)) return true
    this.session.ledger.setKey(this.open(), key, ABSENT)
    this.session.changed = true
    return true
  }
}

export class ArrayNode extends Node<JsonValue[]> {
  /** Makes the copies that are not made yet. */
  readonly #copies = new Set<() => void>()

  override open(): JsonValue[] {
    for (const make of this.#copies) make()
    return super.open()
  }

  /** A copy with other values from `start` to `end`. */
  copyWith(start: number, end: number, values: readonly unknown[]): unknown[] {
    const stretch = { node: this, start, end, values }
    if (isNarrow(this.content, 0)) return elementsWith(stretch)
    const { copies } = this.session
    const { array, make } = arrayToBe(stretch, () => {
      copies.delete(array)
      this.#copies.delete(make)
    })
    copies.set(array, stretch)
    this.#copies.add(make)
    return array
  }

  override get(target: object, key: string | symbol, receiver: unknown): unknown {
    if (key === NODE) return receiver === this.draft ? this : undefined
    this.alive()
    if (typeof key === 'symbol') return Reflect.get(target, key, receiver)
    if (Object.hasOwn(this.content, key)) {
      return key === 'length'
        ? this.content.length
        : this.seen((this.content as unknown as JsonObject)[key] as JsonValue, +key)
    }
    return Object.hasOwn(arrayMethods, key) ? arrayMethods[key] : Reflect.get(target, key, receiver)
  }

  override set(_target: object, key: string | symbol, value: unknown): boolean {
    this.alive()
    this.refuseSymbol(key)
    if (key === 'length') this.#setLength(value)
    else this.setIndex(key, value)
    return true
  }

  setIndex(key: string | number, value: unknown): void {
    const index = parseIndex(String(key))
    if (index === undefined) throw invalid(pointerTo(this.path, key), 'an array has elements only, no named properties')
    if (index > this.content.length) throw invalid(pointerTo(this.path, key), 'this would leave a hole in an array')
    if (index < this.content.length && this.holds(this.content[index] as JsonValue, value)) return
    const content = this.open()
    const entered = this.enter(value, index)
    this.session.ledger.setElement(content, index, entered)
    this.session.changed = true
  }

  #setLength(value: unknown): void {
    const length = Number(value)
    if (!Number.isInteger(length) || length < 0) throw new RangeError('Invalid array length')
    if (length > this.content.length) throw invalid(this.path, 'this would leave holes in an array')
    if (length < this.content.length) this.shorten(length)
  }

  shorten(length: number): void {
    this.session.ledger.shorten(this.open(), length)
    this.session.changed = true
  }

  /** Lets an array's own method loose on the real content. */
  rearrange<T>(change: (content: JsonValue[]) => T): T {
    const content = this.open()
    this.session.ledger.rearrange(content)
    this.session.changed = true
    return change(content)
  }

  override deleteProperty(_target: object, key: string | symbol): boolean {
    this.alive()
    if (!Object.hasOwn(this.content, key)) return true
    throw invalid(pointerTo(this.path, String(key)), 'deleting an element leaves a hole in an array: use splice()')
  }

  /** An element as the program sees it. */
  element(value: JsonValue | undefined, index: number): unknown {
    return value === undefined ? undefined : this.seen(value, index)
  }

  /** Values on their way into this array. */
  entering(values: readonly unknown[], at: number): JsonValue[] {
    this.open()
    return values.map((value, i) => this.enter(value, at + i))
  }
}

const arrayNode = (draft: unknown): ArrayNode => {
  const node = nodeBehind(draft)
  if (!(node instanceof ArrayNode))
    throw new TypeError('This method was taken from an array of the state: call it on one.')
  node.alive()
  return node
}

const arrayMethods = arrayMethodsOn(arrayNode)
