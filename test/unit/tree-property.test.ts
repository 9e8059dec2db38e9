import { expect } from 'chai'
import fc from 'fast-check'
import { createTree, type Change, type Tree } from '#src/store/tree.js'
import { equalJson, type JsonValue } from '#src/protocol/json.js'
import type { Patch } from '#src/protocol/replication.js'

type Box = JsonValue[] | { [key: string]: JsonValue }
const isBox = (value: unknown): value is Box => typeof value === 'object' && value !== null

/** One step of a random program: a verb, a way to a container, and numbers to fill in the rest. */
interface Step {
  verb: number
  walk: number[]
  n: number
  m: number
}
const step: fc.Arbitrary<Step> = fc.record({
  verb: fc.nat(99),
  walk: fc.array(fc.nat(999), { maxLength: 4 }),
  n: fc.nat(400),
  m: fc.nat(400),
})
const steps = fc.array(step, { minLength: 1, maxLength: 8 })

const KEYS = ['a', 'b', 'c/d', 'e~f', '0', 'list', 'map', 'small']
const keyOf = (n: number): string => KEYS[n % KEYS.length] as string
const valueOf = (n: number): JsonValue => {
  const values: JsonValue[] = [n, `t${n}`, null, { made: n }, [n, { in: n }], true, { made: { deep: [n] } }, []]
  return structuredClone(values[n % values.length] as JsonValue)
}

function boxAt(root: Box, walk: readonly number[]): Box {
  let at = root
  for (const n of walk) {
    const keys = Object.keys(at).sort()
    const next = keys.length === 0 ? undefined : (at as Record<string, unknown>)[keys[n % keys.length] as string]
    if (!isBox(next)) break
    at = next
  }
  return at
}

/** Does the same to a draft and to plain data. `held` are references kept from earlier steps. */
function act(root: Box, held: Box[], { verb, walk, n, m }: Step): void {
  const at = boxAt(root, walk)
  const kept = held.length === 0 ? at : (held[n % held.length] as Box)
  if (verb % 10 === 0) {
    held.push(at)
    return
  }
  if (verb % 10 === 1 && isBox(kept)) {
    if (Array.isArray(kept)) kept.push(m)
    else kept['touched'] = m
    return
  }
  if (!Array.isArray(at)) {
    if (verb < 35) at[keyOf(n)] = valueOf(m)
    else if (verb < 50) delete at[keyOf(n)]
    else if (verb < 60) at[keyOf(m)] = kept
    else if (verb < 70) at[keyOf(m)] = { wrapped: kept, and: [n] }
    else Object.assign(at, { a: n, b: valueOf(m) })
    return
  }
  const index = at.length === 0 ? 0 : n % at.length
  const verbs: (() => unknown)[] = [
    () => at.push(valueOf(n), valueOf(m)),
    () => at.pop(),
    () => at.shift(),
    () => at.unshift(valueOf(n)),
    () => at.splice(index, m % 3, valueOf(n), valueOf(m)),
    () => at.splice(index, m % 4),
    () => held.push(...(at.splice(-(n % 3), 2) as unknown[]).filter(isBox)),
    () => at.reverse(),
    () => at.sort((a, b) => sortKey(a) - sortKey(b)),
    () => (at[index] = valueOf(m)),
    () => (at.length = Math.max(0, at.length - (n % 5))),
    () => at.push(kept),
    () => at.length > 1 && ([at[0], at[index]] = [at[index] as JsonValue, at[0] as JsonValue]),
    () => at.copyWithin(n % 7, m % 7, (m % 7) + 3),
    () => at.fill(n, n % 7, m % 9),
    () => at.push(at.shift() ?? 0),
  ]
  verbs[verb % verbs.length]?.()
}
const sortKey = (value: JsonValue): number =>
  isBox(value) ? (Array.isArray(value) ? value.length : (Number(value['id']) || 0) % 7) : Number(value) || 0

/** A new value instead of a container, as a program that changes nothing in place makes it. */
function madeOf(at: Box, other: Box, { verb, n, m }: Step): JsonValue {
  if (!Array.isArray(at)) {
    const { [keyOf(m)]: _, ...rest } = at
    const makings: (() => JsonValue)[] = [
      () => ({ ...at, [keyOf(n)]: valueOf(m) }),
      () => rest,
      () => ({ ...rest, [keyOf(n)]: other }),
      () => ({ wrapped: at, and: valueOf(n) }),
      () => Object.fromEntries(Object.entries(at).map(([key, child]) => [key, isBox(child) ? { ...child } : child])),
      () => Object.fromEntries(Object.entries(at).filter((_, i) => i % 7 !== n % 7)),
      () => ({ ...at }),
      () => valueOf(n),
    ]
    return (makings[verb % makings.length] as () => JsonValue)()
  }
  const index = at.length === 0 ? 0 : n % at.length
  const one = at[index] ?? 0
  const revised = isBox(one) && !Array.isArray(one) ? { ...one, revised: m } : valueOf(m)
  const makings: (() => JsonValue)[] = [
    () => (at.length === 0 ? at : at.with(index, revised)),
    () => at.toSpliced(index, m % 3, valueOf(n), revised),
    () => at.toSpliced(index, m % 4),
    () => at.toSpliced(-(n % 3), 2, other),
    () => (at.length === 0 ? at : at.with(-1 - index, one)),
    () => at.filter((_, i) => i % 5 !== n % 5),
    () => at.map((child, i) => (i % 3 === m % 3 && isBox(child) && !Array.isArray(child) ? { ...child, t: n } : child)),
    () => [...at, valueOf(m)],
    () => [valueOf(m), ...at],
    () => at.slice(n % 4, (m % 400) + 1),
    () => [...at.slice(1), { rotated: n }],
    () => at.toReversed(),
    () => [...at].sort((a, b) => sortKey(a) - sortKey(b)),
    () => at.concat([one]),
    () => ({ list: at, first: one }),
    () => [valueOf(m), ...at.toSpliced(n % 9, 1)],
  ]
  return (makings[verb % makings.length] as () => JsonValue)()
}

/** The root with another value at the end of a way; what lies above is made anew too. */
function revised(root: Box, [next, ...walk]: readonly number[], step: Step, whole: Box): JsonValue {
  const keys = Object.keys(root).sort()
  const key = next === undefined ? undefined : keys[next % Math.max(keys.length, 1)]
  const child = key === undefined ? undefined : (root as Record<string, JsonValue>)[key]
  if (key === undefined || !isBox(child)) return madeOf(root, boxAt(whole, [step.m, step.n]), step)
  const inner = revised(child, walk, step, whole)
  return Array.isArray(root) ? root.with(Number(key), inner) : { ...root, [key]: inner }
}

/** Does so again and again, and returns what comes of it. */
const returning = (root: unknown, program: readonly Step[]): unknown =>
  program.reduce((value, step) => (isBox(value) ? revised(value, step.walk, step, value) : value), root as JsonValue)

const perform = (root: unknown, program: readonly Step[]): void => {
  const held: Box[] = []
  for (const one of program) act(root as Box, held, one)
}

/** A second, naive implementation of RFC 6902. */
function naiveApply(state: JsonValue, patch: Patch): JsonValue {
  let root = { '': structuredClone(state) } as Record<string, JsonValue>
  for (const operation of structuredClone<Patch>(patch)) {
    const tokens = operation.path.split('/').map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
    let at: Box = root
    for (const token of tokens.slice(0, -1)) at = (at as Record<string, JsonValue>)[token] as Box
    const last = tokens[tokens.length - 1] as string
    if (Array.isArray(at)) {
      if (operation.op === 'remove') at.splice(Number(last), 1)
      else if (operation.op === 'replace') at[Number(last)] = operation.value
      else at.splice(last === '-' ? at.length : Number(last), 0, operation.value)
    } else if (operation.op === 'remove') delete at[last]
    else at[last] = operation.value
    root = { ...root }
  }
  return root[''] as JsonValue
}

const WIDE_ELEMENTS = 300
const WIDE_KEYS = 70

const initial = (): JsonValue => ({
  list: Array.from({ length: WIDE_ELEMENTS }, (_, id) => ({ id, in: [id] })),
  map: Object.fromEntries(Array.from({ length: WIDE_KEYS }, (_, id) => [`k${id}`, { id, in: { x: id } }])),
  small: { a: { b: [1, 2, { c: 3 }] }, b: [{ id: 1 }, { id: 2 }, { id: 3 }] },
})

/** A tree whose wide containers have become its own, so that they change in place. */
function warmTree(freeze: boolean): Tree {
  const tree = createTree(initial(), { freeze })
  const warm = tree.begin()
  warm.run((draft) => {
    const state = draft as { list: unknown[]; map: Record<string, unknown> }
    state.list.push({ id: -1 })
    state.map['warm'] = true
  })
  warm.finish()
  return tree
}

/** Every container with its way from the root, to compare identities. */
function identities(value: JsonValue | undefined, path = '', found = new Map<string, Box>()): Map<string, Box> {
  if (!isBox(value)) return found
  found.set(path, value)
  for (const [key, child] of Object.entries(value)) identities(child, `${path}/${key}`, found)
  return found
}

const hasCycle = (value: unknown): boolean => {
  try {
    JSON.stringify(value)
    return false
  } catch {
    return true
  }
}

/** Runs a program on the tree and on a copy; checks that all agree. Answers the change, if the program was possible. */
function runBoth(tree: Tree, program: readonly Step[]): Change | undefined {
  const before = structuredClone(tree.value) as JsonValue
  const model = structuredClone(before)
  perform(model, program)
  const transaction = tree.begin()
  if (hasCycle(model)) {
    expect(() => transaction.run((draft) => perform(draft, program))).to.throw(/contains itself/)
    transaction.rollback()
    expect(equalJson(tree.value, before)).equal(true)
    return undefined
  }
  transaction.run((draft) => perform(draft, program))
  const change = transaction.finish()
  expectEqual(tree.value, model, 'the draft is the plain data')
  expectEqual(naiveApply(before, change.patch), tree.value, 'the patch leads from before to after')
  expect(identities(tree.value).size, 'no container is there twice').equal(
    new Set(identities(tree.value).values()).size,
  )
  return change
}

function expectEqual(actual: JsonValue | undefined, expected: JsonValue | undefined, what: string): void {
  if (!equalJson(actual, expected)) expect(actual, what).deep.equal(expected)
}

describe('tree, any program', function () {
  this.timeout(60_000)

  it('does to a draft what it does to plain data; its patch leads there; undo leads back', () => {
    fc.assert(
      fc.property(fc.array(steps, { minLength: 1, maxLength: 4 }), fc.boolean(), (programs, freeze) => {
        const tree = warmTree(freeze)
        const done: { change: Change; before: Map<string, Box>; text: JsonValue; patch: string }[] = []
        for (const program of programs) {
          const before = identities(tree.value)
          const text = structuredClone(tree.value) as JsonValue
          const change = runBoth(tree, program)
          if (change !== undefined) done.push({ change, before, text, patch: JSON.stringify(change.patch) })
        }
        const patches = done.map(({ change }) => change.patch)
        for (const { change, before, text } of done.reverse()) {
          change.undo()
          expectEqual(tree.value, text, 'undo leads back')
          const now = identities(tree.value)
          expect(now.size).equal(before.size)
          for (const [path, box] of before) if (now.get(path) !== box) expect.fail(`another identity at "${path}"`)
        }
        // As the replica does: applied again, changed again, taken back again.
        for (const patch of patches) {
          const transaction = tree.begin()
          expect(transaction.apply(patch)).equal(true)
          transaction.finish()
        }
        for (const { change, patch } of done) expect(JSON.stringify(change.patch), 'a patch never changes').equal(patch)
      }),
      { numRuns: 60 },
    )
  })

  it('makes of a returned value what plain data would be; its patch leads there; undo leads back', () => {
    const few = fc.array(step, { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(fc.array(few, { minLength: 1, maxLength: 3 }), fc.boolean(), (programs, freeze) => {
        const tree = warmTree(freeze)
        const done: { change: Change; graph: Map<string, Box>; state: JsonValue; patch: string }[] = []
        for (const program of programs) {
          const graph = identities(tree.value)
          const state = structuredClone(tree.value) as JsonValue
          const model = JSON.parse(JSON.stringify(returning(structuredClone(state), program))) as JsonValue
          const transaction = tree.begin()
          transaction.run((draft) => returning(draft, program))
          const change = transaction.finish()
          expectEqual(tree.value, model, 'what was returned')
          expectEqual(naiveApply(state, change.patch), model, 'the patch leads from before to after')
          const now = identities(tree.value)
          expect(now.size, 'no container is there twice').equal(new Set(now.values()).size)
          done.push({ change, graph, state, patch: JSON.stringify(change.patch) })
        }
        for (const { change, graph, state, patch } of done.reverse()) {
          change.undo()
          expectEqual(tree.value, state, 'undo leads back')
          for (const [path, box] of identities(tree.value)) {
            if (graph.get(path) !== box) expect.fail(`another identity at "${path}"`)
          }
          expect(JSON.stringify(change.patch), 'a patch never changes').equal(patch)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('leaves alone what was pinned and what left in a patch', () => {
    fc.assert(
      fc.property(steps, steps, steps, (first, second, third) => {
        const tree = warmTree(false)
        const change = runBoth(tree, first)
        const pinned = tree.pin()
        const text = JSON.stringify(pinned)
        const patch = JSON.stringify(change?.patch)
        const next = runBoth(tree, second)
        const nextPatch = JSON.stringify(next?.patch)
        runBoth(tree, third)?.undo()
        expect(JSON.stringify(pinned)).equal(text)
        expect(JSON.stringify(change?.patch)).equal(patch)
        expect(JSON.stringify(next?.patch)).equal(nextPatch)
      }),
      { numRuns: 40 },
    )
  })

  it('takes several programs and patches in one transaction, and rolls all of them back', () => {
    fc.assert(
      fc.property(fc.array(steps, { minLength: 2, maxLength: 4 }), (programs) => {
        const tree = warmTree(false)
        const before = structuredClone(tree.value) as JsonValue
        const graph = identities(tree.value)
        const model = structuredClone(before)
        for (const program of programs) {
          perform(model, program)
          if (hasCycle(model)) return
        }
        const work = () => {
          const transaction = tree.begin()
          let plain = structuredClone(before)
          for (const program of programs) {
            transaction.run((draft) => perform(draft, program))
            // An alias that a program made ends with it.
            perform(plain, program)
            plain = JSON.parse(JSON.stringify(plain)) as JsonValue
            expectEqual(transaction.value, plain, 'after each program')
          }
          return transaction
        }
        work().rollback()
        expectEqual(tree.value, before, 'rolled back')
        for (const [path, box] of identities(tree.value)) expect(graph.get(path) === box).equal(true)
        const change = work().finish()
        expectEqual(naiveApply(before, change.patch), tree.value, 'one patch for all')
      }),
      { numRuns: 40 },
    )
  })

  it('answers any patch with true or false, and what it took is what a naive implementation makes of it', () => {
    const token = fc.constantFrom('list', 'map', 'small', 'a', 'b', '0', '1', '01', '-', '301', '3', 'k1', '~2', 'c~1d')
    const path = fc.array(token, { maxLength: 4 }).map((tokens) => tokens.map((one) => `/${one}`).join(''))
    const value = fc.nat(50).map(valueOf)
    const operation = fc.oneof(
      fc.record({ op: fc.constantFrom('add' as const, 'replace' as const), path, value }),
      fc.record({ op: fc.constant('remove' as const), path }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (patch) => {
        const tree = warmTree(false)
        const before = structuredClone(tree.value) as JsonValue
        const text = JSON.stringify(patch)
        const transaction = tree.begin()
        if (transaction.apply(patch)) {
          const change = transaction.finish()
          if (patch.every((one) => one.path !== '')) expectEqual(tree.value, naiveApply(before, patch), 'applied')
          change.undo()
        } else {
          transaction.rollback()
        }
        expect(JSON.stringify(patch), 'the patch is as it was').equal(text)
        expectEqual(tree.value, before, 'taken back')
      }),
      { numRuns: 300 },
    )
  })
})
