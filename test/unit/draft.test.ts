import { expect } from 'chai'
import { createTree, type Tree } from '#src/store/tree.js'
import { MAX_DEPTH, type JsonValue } from '#src/protocol/json.js'

/* Programs are the users', so they are typed as loosely as theirs may be. */
interface Item {
  id: number
  done?: boolean
  tags?: string[]
}
interface State {
  n: number
  items: Item[]
  map: Record<string, unknown>
  [key: string]: unknown
}

const fresh = (): Tree =>
  createTree({ n: 1, items: [{ id: 1, tags: ['a'] }, { id: 2 }, { id: 3 }], map: { a: { x: 1 } } })

function change(tree: Tree, program: (state: State) => unknown) {
  const transaction = tree.begin()
  try {
    const answer = transaction.run((draft) => program(draft as State))
    return { answer, ...transaction.finish() }
  } catch (error) {
    transaction.rollback()
    throw error
  }
}

const codeOf = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name
  }
  return 'nothing was thrown'
}

describe('draft', () => {
  it('reads as plain data', () => {
    const tree = fresh()
    change(tree, (state) => {
      expect(JSON.stringify(state)).equal(JSON.stringify(tree.value))
      expect(Array.isArray(state.items)).equal(true)
      expect(Object.keys(state)).deep.equal(['n', 'items', 'map'])
      expect('n' in state && !('m' in state) && Object.hasOwn(state, 'n')).equal(true)
      expect({ ...state }.n).equal(1)
      expect([...state.items].length).equal(3)
      const [first, ...rest] = state.items
      expect(first?.id).equal(1)
      expect(rest.length).equal(2)
      expect(state.items[0]).equal(first)
      expect(state.items.indexOf(first as Item)).equal(0)
      expect(state.items.includes(rest[1] as Item)).equal(true)
      expect(state.items.lastIndexOf({ id: 1 })).equal(-1)
      expect(state.items.map((item) => item.id).join()).equal('1,2,3')
      expect(state.items.find((item) => item.id === 2)).equal(rest[0])
      expect(state.items.slice(1).concat(state.items).length).equal(5)
      expect(Object.entries(state.map).length).equal(1)
      expect(Object.getOwnPropertyDescriptor(state.items, 'length')?.value).equal(3)
      expect(state.map.constructor).equal(Object)
    })
  })

  it('answers whether the program returned or changed anything', () => {
    const tree = fresh()
    expect(change(tree, () => undefined).answer).equal(false)
    expect(change(tree, (state) => void (state.n = 1)).answer, 'the same value').equal(false)
    expect(change(tree, (state) => void (state.n = 2)).answer).equal(true)
    expect(change(tree, (state) => state).answer).equal(true)
    expect(change(tree, (state) => ({ ...state })).answer).equal(true)
  })

  it('takes a returned value with drafts and plain values in any mixture, and says only what differs', () => {
    const tree = fresh()
    const map = (tree.value as State).map
    const { patch } = change(tree, (state) => ({
      ...state,
      items: state.items.filter((item) => item.id !== 2),
      x: [1],
    }))
    expect(patch).deep.equal([
      { op: 'remove', path: '/items/1' },
      { op: 'add', path: '/x', value: [1] },
    ])
    expect((tree.value as State).map, 'what did not change keeps its identity').equal(map)
    expect(change(tree, (state) => state.items).patch).deep.equal([
      { op: 'replace', path: '', value: [{ id: 1, tags: ['a'] }, { id: 3 }] },
    ])
  })

  it('takes changes in place with the draft returned, and refuses another value then', () => {
    const tree = fresh()
    expect(change(tree, (state) => ((state.n = 5), state)).patch).deep.equal([{ op: 'replace', path: '/n', value: 5 }])
    expect(codeOf(() => change(tree, (state) => ((state.n = 6), { ...state })))).equal('ambiguous-mutator')
    expect((tree.value as State).n).equal(5)
  })

  it('gives a primitive root as it is', () => {
    const tree = createTree(undefined)
    const add = (state: unknown) => (typeof state === 'number' ? state + 1 : 1)
    const grow = () => {
      const transaction = tree.begin()
      transaction.run(add)
      return transaction.finish()
    }
    expect(grow().patch).deep.equal([{ op: 'add', path: '', value: 1 }])
    const second = grow()
    expect(second.patch).deep.equal([{ op: 'replace', path: '', value: 2 }])
    second.undo()
    expect(tree.value).equal(1)
  })

  it('refuses a promise, and swallows its failure', () => {
    const failing = async (state: State) => {
      state.n = 9
      await Promise.reject(new Error('unheard'))
    }
    const tree = fresh()
    expect(() => change(tree, failing)).to.throw(/must be synchronous/)
    expect((tree.value as State).n).equal(1)
  })

  it('copies at the door', () => {
    const tree = fresh()
    const mine = { x: { y: 1 } }
    change(tree, (state) => void (state['mine'] = mine))
    mine.x.y = 2
    expect((tree.value as State)['mine']).deep.equal({ x: { y: 1 } })
    change(tree, (state) => ({ ...state, mine }))
    mine.x.y = 3
    expect((tree.value as State)['mine']).deep.equal({ x: { y: 2 } })
  })

  it('refuses what JSON cannot carry, and names the path', () => {
    const bad: [string, RegExp, (state: State) => unknown][] = [
      ['a number', /"\/n": NaN/, (state) => (state.n = NaN)],
      ['deep in a value', /"\/items\/1\/deep\/0"/, (state) => void ((state.items[1] as never as State)['deep'] = [new Date()])],
      ['a returned value', /"\/a\/b"/, () => ({ a: { b: () => 1 } })],
      ['a forbidden key', /forbidden/, (state) => void (state['__proto__'] = {})],
      ['another one', /forbidden/, (state) => void (state.map['constructor'] = 1)],
      ['a lone surrogate', /surrogate/, (state) => void (state.map['\ud800'] = 1)],
      ['a hole', /hole/, (state) => void (state.items[7] = { id: 7 })],
      ['a longer array', /hole/, (state) => void (state.items.length = 9)],
      ['a deleted element', /hole/, (state) => delete state.items[0]],
      ['a named property', /named/, (state) => void ((state.items as never as State)['name'] = 1)],
      ['undefined in an array', /undefined/, (state) => void (state.items[0] = undefined as never)],
      ['a cycle', /"\/map\/a\/self": the value contains itself/, (state) => void ((state.map['a'] as State)['self'] = state.map)],
      ['a cycle by a returned value', /contains itself/, () => { const a: Record<string, unknown> = {}; a['a'] = a; return a }],
    ] // prettier-ignore
    for (const [what, sentence, program] of bad) {
      const tree = fresh()
      const text = JSON.stringify(tree.value)
      expect(
        codeOf(() => change(tree, program)),
        what,
      ).equal('invalid-json')
      expect(() => change(tree, program), what).to.throw(sentence)
      expect(JSON.stringify(tree.value), what).equal(text)
    }
  })

  it('refuses what plain data has not', () => {
    const symbol = Symbol('mine')
    const bad: ((state: State) => unknown)[] = [
      (state) => void ((state as unknown as Record<symbol, unknown>)[symbol] = 1),
      (state) => void Object.defineProperty(state, 'a', { value: 1 }),
      (state) => void Object.setPrototypeOf(state, null),
      (state) => void Object.freeze(state),
    ]
    for (const program of bad) expect(codeOf(() => change(fresh(), program))).equal('TypeError')
  })

  it('takes undefined for absent', () => {
    const tree = fresh()
    change(tree, (state) => {
      state['n'] = undefined as never
      state.map = { a: undefined, b: 1 }
    })
    expect(tree.value).deep.equal({ items: [{ id: 1, tags: ['a'] }, { id: 2 }, { id: 3 }], map: { b: 1 } })
    expect(change(tree, (state) => void delete state['nothing']).answer).equal(false)
  })

  it('is dead after the program has returned', () => {
    const tree = fresh()
    let kept: State | undefined
    let child: Item | undefined
    change(tree, (state) => {
      kept = state
      child = state.items[0]
    })
    for (const use of [
      () => kept?.n,
      () => child?.id,
      () => kept && (kept.n = 2),
      () => Object.keys(kept ?? {}),
      () => kept?.items.push({ id: 1 }),
    ]) {
      expect(use).to.throw(TypeError, /can no longer be used/)
    }
    expect(() => change(tree, () => ({ kept }))).to.throw(TypeError, /can no longer be used/)
  })

  it('changes both places of a draft that is looked at again in its second', () => {
    const tree = createTree({ small: { items: [1] } })
    change(tree, (state) => {
      state['copy'] = state['small']
      ;(state['copy'] as State)['touched'] = true
    })
    expect(tree.value).deep.equal({ small: { items: [1], touched: true }, copy: { items: [1], touched: true } })
  })

  it('puts a draft in a second place as a copy', () => {
    const tree = fresh()
    change(tree, (state) => {
      state['twin'] = state.map['a']
      ;(state.map['a'] as State).n = 7
    })
    const state = tree.value as State
    expect(state['twin']).deep.equal({ x: 1, n: 7 })
    expect(state['twin']).not.equal(state.map['a'])
    change(tree, (draft) => void ((draft['twin'] as State).n = 8))
    expect(((tree.value as State).map['a'] as State).n).equal(7)
    change(tree, (draft) => ({ a: draft.map, b: draft.map, c: [draft.map['a']] }))
    const { a, b, c } = tree.value as unknown as { a: State; b: State; c: [unknown] }
    expect(new Set([a, b, a['a'], b['a'], c[0]]).size, 'five containers').equal(5)
  })

  it('follows a draft to where the program put it', () => {
    const tree = fresh()
    const { patch } = change(tree, (state) => {
      const kept = state.items.find((item) => item.id === 3) as Item
      state.items = state.items.filter((item) => item.id !== 1)
      kept.done = true
      ;(state.items[0] as Item).done = false
    })
    expect((tree.value as State).items).deep.equal([
      { id: 2, done: false },
      { id: 3, done: true },
    ])
    expect(patch).deep.equal([
      { op: 'remove', path: '/items/0' },
      { op: 'add', path: '/items/0/done', value: false },
      { op: 'add', path: '/items/1/done', value: true },
    ])
  })

  it('follows a draft to where the array itself has moved it', () => {
    const tree = fresh()
    const { patch } = change(tree, (state) => {
      const last = state.items[2] as Item
      state.items.shift()
      last.done = true
    })
    expect(patch).deep.equal([
      { op: 'remove', path: '/items/0' },
      { op: 'add', path: '/items/1/done', value: true },
    ])
  })

  describe('a returned state', () => {
    const wide = (): Tree => {
      const tree = createTree({
        n: 1,
        items: Array.from({ length: 300 }, (_, id) => ({ id })),
        map: Object.fromEntries(Array.from({ length: 100 }, (_, id) => [`k${id}`, { id }])),
      })
      // From now on the wide containers are the tree's own.
      change(tree, (state) => void (state.items.push({ id: 300 }), (state.map['k100'] = { id: 100 })))
      return tree
    }
    const map = (tree: Tree) => (tree.value as State).map as Record<string, { id: number }>

    it('changes a wide container in place, and leaves what did not change', () => {
      const tree = wide()
      const before = tree.value as State
      const [kept, keptItem] = [map(tree)['k1'], before.items[1]]
      const { patch, undo } = change(tree, (state) => ({
        ...state,
        map: { ...state.map, k5: { ...(state.map['k5'] as object), on: true } },
        items: state.items.with(7, { id: 7, done: true }),
      }))
      expect(patch).deep.equal([
        { op: 'add', path: '/items/7/done', value: true },
        { op: 'add', path: '/map/k5/on', value: true },
      ])
      const after = tree.value as State
      expect(after, 'the narrow root is another').not.equal(before)
      expect(after.map, 'the wide object is the same').equal(before.map)
      expect(after.items, 'the wide array is the same').equal(before.items)
      expect([map(tree)['k1'], after.items[1]]).deep.equal([kept, keptItem])
      expect(map(tree)['k1']).equal(kept)
      undo()
      expect(map(tree)['k5']).deep.equal({ id: 5 })
      expect((tree.value as State).items[7]).deep.equal({ id: 7 })
    })

    it('keeps the identity of what was only made anew', () => {
      const tree = wide()
      const before = tree.value as State
      change(tree, (state) => ({
        ...state,
        n: 2,
        map: { ...state.map },
        items: state.items.map((item) => ({ ...item })),
      }))
      const after = tree.value as State
      expect(after.n).equal(2)
      expect(after.map).equal(before.map)
      expect(after.items[3]).equal(before.items[3])
    })

    it('takes an item from one list to another, and copies one that stays where it was', () => {
      const tree = wide()
      const item = (tree.value as State).items[9]
      change(tree, (state) => ({ ...state, items: state.items.filter(({ id }) => id !== 9), moved: [state.items[9]] }))
      expect((tree.value as State)['moved']).deep.equal([{ id: 9 }])
      expect((tree.value as { moved: unknown[] }).moved[0], 'the item itself').equal(item)
      change(tree, (state) => ({ ...state, twice: [state.map['k1'], state.map] }))
      const { twice } = tree.value as unknown as { twice: [unknown, Record<string, unknown>] }
      expect(new Set([twice[0], twice[1]['k1'], map(tree)['k1']]).size, 'three containers').equal(3)
    })

    it('says of elements that only moved no more than that', () => {
      const tree = wide()
      const rotate = ({ items, ...rest }: State) => ({ ...rest, items: [...items.slice(1), items[0]] })
      const { patch } = change(tree, rotate)
      expect(patch).deep.equal([
        { op: 'remove', path: '/items/0' },
        { op: 'add', path: '/items/-', value: { id: 0 } },
      ])
    })

    it('finds doubles in what revises itself', () => {
      const tree = createTree({ a: { x: 1, y: { z: 1 } }, b: 0 })
      change(tree, (state) => {
        const { a } = state as unknown as { a: { x: number; y: { z: number } } }
        return { a: { ...a, x: 2 }, b: a, c: a.y }
      })
      expect(tree.value).deep.equal({ a: { x: 2, y: { z: 1 } }, b: { x: 1, y: { z: 1 } }, c: { z: 1 } })
    })

    it('says what is wrong with it, and where', () => {
      const tree = wide()
      const cyclic: Record<string, unknown> = {}
      cyclic['self'] = cyclic
      const bad: [RegExp, (state: State) => unknown][] = [
        [/"\/map\/bad": NaN/, (state) => ({ ...state, map: { ...state.map, bad: NaN } })],
        [/"\/items\/4".*undefined/, (state) => ({ ...state, items: state.items.with(4, undefined as never) })],
        [/"\/x\/self": the value contains itself/, (state) => ({ ...state, x: cyclic })],
        [/forbidden/, (state) => ({ ...state, map: { ...state.map, ['constructor']: 1 } })],
        [/thrown here/, (state) => ({ ...state, get x() { throw new Error('thrown here') } })],
      ] // prettier-ignore
      for (const [sentence, program] of bad) {
        const text = JSON.stringify(tree.value)
        expect(() => change(tree, program)).to.throw(sentence)
        expect(JSON.stringify(tree.value)).equal(text)
      }
    })
  })

  describe('a copy of a wide array with some elements replaced', () => {
    const wide = (): Tree => createTree({ n: 1, items: Array.from({ length: 300 }, (_, id) => ({ id })), map: {} })

    it('is to the program the array it asked for', () => {
      change(wide(), (state) => {
        const replaced = { id: -1 }
        const copy = state.items.with(-2, replaced)
        expect(Array.isArray(copy) && copy.length).equal(300)
        expect(copy[298]).equal(replaced)
        expect(copy[5]).equal(state.items[5])
        const spliced = state.items.toSpliced(1, 298, replaced)
        expect(JSON.stringify(spliced)).equal('[{"id":0},{"id":-1},{"id":299}]')
        expect(Object.keys(state.items.toSpliced(2))).deep.equal(['0', '1'])
        spliced.push({ id: 4 })
        expect(spliced.length).equal(4)
        expect(state.items.length, 'the array itself is as it was').equal(300)
        expect(() => state.items.with(300, replaced)).to.throw(RangeError)
        expect(state.items.toSpliced(0, 0).length).equal(300)
      })
    })

    it('has the elements that were there when it was asked for, also when they change later', () => {
      const tree = wide()
      change(tree, (state) => {
        const copy = state.items.with(0, { id: -1 })
        const third = state.items[3] as Item
        state.items.shift()
        third.done = true
        state['copy'] = copy.slice(0, 4)
      })
      expect((tree.value as State)['copy']).deep.equal([{ id: -1 }, { id: 1 }, { id: 2 }, { id: 3, done: true }])
      expect((tree.value as State).items[2]).deep.equal({ id: 3, done: true })
    })

    it('may be assigned instead of the array', () => {
      const tree = wide()
      const { patch } = change(tree, (state) => void (state.items = state.items.toSpliced(1, 1)))
      expect(patch).deep.equal([{ op: 'remove', path: '/items/1' }])
    })

    it('is dead after the program has returned', () => {
      let kept: Item[] = []
      change(wide(), (state) => void (kept = state.items.with(0, { id: 1 })))
      expect(() => kept.length).to.throw(TypeError, /can no longer be used/)
    })
  })

  it('refuses to nest more deeply than JSON may, by assignment or by moving', () => {
    const nest = (levels: number): JsonValue => (levels === 0 ? 0 : [nest(levels - 1)])
    const tree = createTree({ a: nest(100), b: nest(100) })
    expect(() => change(tree, (state) => void (state['c'] = { deep: nest(MAX_DEPTH - 1) }))).to.throw(/deeply/)
    expect(() =>
      change(tree, (state) => void (state['a'] = Array.from({ length: 1 }, () => nested(state['a'], 40)))),
    ).to.throw(/deeply/)
    change(tree, (state) => void (state['a'] = nested(state['a'], 20)))
  })
  const nested = (value: unknown, levels: number): unknown => (levels === 0 ? value : { in: nested(value, levels - 1) })
})
