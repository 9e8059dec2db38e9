/**
 * Runs a handler or a mutator on a draft of the state.
 *
 * Promises: the draft behaves as plain data; what enters is copied and checked at the door; after the program has
 * returned no alias of its objects is in the state, no container is in it twice, and its drafts are dead. Programs are
 * synchronous: one that returns a promise is refused. Errors leave the transaction to be rolled back by the caller.
 */
import { NamedMasterError } from '../errors.js'
import { MAX_DEPTH, type JsonValue } from '../protocol/json.js'
import { invalid, Session } from './draft-node.js'
import { isArray, isContainer, nestsWithin, type Container, type Ledger } from './ledger.js'
import { pointerTo } from './patch.js'
import { revise } from './returned.js'

/** Answers whether the program returned or changed anything. */
export function runProgram(ledger: Ledger, program: (draft: unknown) => unknown): boolean {
  const session = new Session(ledger)
  const { root } = ledger
  const draft = isContainer(root) ? session.draftOf(root, undefined, '') : root
  try {
    const returned = program(draft)
    refusePromise(returned)
    const replaced = returned !== undefined && !(isContainer(returned) && returned === draft)
    if (replaced) {
      if (session.changed) {
        const sentence = 'A handler or mutator changed the given state and returned another value: do one of the two.'
        throw new NamedMasterError('ambiguous-mutator', sentence)
      }
      const whole = session.placed.size > 0 || !revise(session, returned)
      if (whole) ledger.root = session.enter(returned, MAX_DEPTH, () => '')
    }
    if (session.placed.size > 0) new Untangling(session).visit(ledger.root as JsonValue, '', 0)
    return replaced || session.changed || returned !== undefined
  } finally {
    session.live = false
  }
}

function refusePromise(returned: unknown): void {
  if (!isContainer(returned) || typeof (returned as { then?: unknown }).then !== 'function') return
  // Its failure is ours to swallow: the program is told below, and nobody else will ever look at it.
  Promise.resolve(returned).catch(() => undefined)
  throw new NamedMasterError(
    'invalid-json',
    'A handler or mutator returned a promise: it must be synchronous. Await first, then emit or mutate with the result.',
  )
}

/** The state is a tree: a draft that was put in a second place becomes a copy there; one inside itself is refused. */
class Untangling {
  readonly #session: Session
  readonly #met = new Set<Container>()
  readonly #above = new Set<Container>()

  constructor(session: Session) {
    this.#session = session
  }

  /** Goes through what was changed or made; a draft that was put somewhere is nowhere else. Answers what is to be there. */
  visit(value: JsonValue, path: string, depth: number): JsonValue {
    if (!isContainer(value)) return value
    const { ledger, nodes, placed } = this.#session
    if (this.#above.has(value)) throw invalid(path, 'the value contains itself')
    const node = nodes.get(value)
    const moved = node !== undefined && placed.has(node)
    if (moved) {
      if (this.#met.has(value)) return structuredCopy(value)
      this.#met.add(value)
    }
    if (ledger.fresh.has(value) || ledger.recorded(value)) this.#visitBelow(value, path, depth)
    if (moved && depth > node.depth && !nestsWithin(value, MAX_DEPTH - depth)) {
      throw invalid(path, 'the value nests too deeply')
    }
    return value
  }

  #visitBelow(container: Container, path: string, depth: number): void {
    const { ledger } = this.#session
    this.#above.add(container)
    const look = (key: string | number, child: JsonValue) => {
      const kept = this.visit(child, pointerTo(path, key), depth + 1)
      if (kept !== child) ledger.put(container, key, kept)
    }
    if (isArray(container)) {
      container.forEach((child, i) => isContainer(child) && look(i, child))
    } else {
      const keys = ledger.objectRecords.get(container)?.entries.keys() ?? Object.keys(container)
      for (const key of [...keys]) if (Object.hasOwn(container, key)) look(key, container[key] as JsonValue)
    }
    this.#above.delete(container)
  }
}

const structuredCopy = (value: JsonValue): JsonValue => {
  if (!isContainer(value)) return value
  if (isArray(value)) return value.map(structuredCopy)
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, structuredCopy(child)]))
}
