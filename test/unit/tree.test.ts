import { expect } from 'chai'
import { createTree, type Change, type Tree } from '#src/store/tree.js'
import { NARROW_ARRAY_ELEMENTS, NARROW_OBJECT_KEYS } from '#src/store/ledger.js'
import { MAX_DEPTH, type JsonValue } from '#src/protocol/json.js'
import { MAX_OPERATIONS, type Patch } from '#src/protocol/replication.js'

interface Item {
  id: number
  done?: boolean
}
interface State {
  list: Item[]
  map: Record<string, Item>
  other: { n: number; deep: { n: number } }
}

const nest = (levels: number): JsonValue => (levels === 0 ? 0 : [nest(levels - 1)])
const item = (id: number): Item => ({ id })
const state = (elements = 5, keys = 5): State => ({
  list: Array.from({ length: elements }, (_, id) => item(id)),
  map: Object.fromEntries(Array.from({ length: keys }, (_, id) => [`k${id}`, item(id)])),
  other: { n: 0, deep: { n: 0 } },
})
const WIDE = NARROW_ARRAY_ELEMENTS + NARROW_OBJECT_KEYS
const valueOf = (tree: Tree): State => tree.value as unknown as State

function change(tree: Tree, program: (state: State) => unknown): Change {
  const transaction = tree.begin()
  transaction.run((draft) => program(draft as State))
  return transaction.finish()
}
const wideTree = (options = {}): Tree => {
  const tree = createTree(state(WIDE, WIDE) as never, options)
  // The first change copies: what came from outside is not the tree's own.
  change(tree, ({ list, map }) => {
    ;(list[0] as Item).done = true
    ;(map['k0'] as Item).done = true
  })
  return tree
}

describe('tree', () => {
  it('gives what changed and all above it a new identity, and leaves the rest', () => {
    const tree = createTree(state() as never)
    const before = valueOf(tree)
    const { patch, writes } = change(tree, ({ list }) => void ((list[3] as Item).done = true))
    const after = valueOf(tree)
    expect(patch).deep.equal([{ op: 'add', path: '/list/3/done', value: true }])
    expect([...writes.paths]).deep.equal(['/list/3/done'])
    expect(after).not.equal(before)
    expect(after.list).not.equal(before.list)
    expect(after.list[3]).not.equal(before.list[3])
    expect(after.list[2]).equal(before.list[2])
    expect(after.map).equal(before.map)
    expect(before.list[3]).deep.equal(item(3))
  })

  it('changes wide containers in place, with new identities above and below', () => {
    const tree = wideTree()
    const before = valueOf(tree)
    const [oldItem, text] = [before.list[7], JSON.stringify(before)]
    const done = change(tree, (draft) => {
      ;(draft.list[7] as Item).done = true
      draft.map['new'] = item(1)
      delete draft.map['k3']
    })
    const after = valueOf(tree)
    expect(after.list).equal(before.list)
    expect(after.map).equal(before.map)
    expect(after).not.equal(before)
    expect(after.list[7]).not.equal(oldItem)
    expect(done.patch).deep.equal([
      { op: 'add', path: '/list/7/done', value: true },
      { op: 'add', path: '/map/new', value: item(1) },
      { op: 'remove', path: '/map/k3' },
    ])
    done.undo()
    expect(tree.value).equal(before)
    expect(valueOf(tree).list[7]).equal(oldItem)
    expect(tree.value).deep.equal(JSON.parse(text))
  })

  it('says an insertion or removal in one operation, an append by "-", and nothing of what was only made anew', () => {
    for (const elements of [6, WIDE]) {
      const make = () => {
        const tree = createTree(state(elements) as never)
        change(tree, ({ list }) => void list.push(item(-1)))
        return tree
      }
      const patchOf = (program: (draft: State) => unknown): Patch => change(make(), program).patch
      expect(patchOf(({ list }) => void list.splice(3, 0, item(9)))).deep.equal([
        { op: 'add', path: '/list/3', value: item(9) },
      ])
      expect(patchOf(({ list }) => void list.splice(2, 2))).deep.equal([
        { op: 'remove', path: '/list/2' },
        { op: 'remove', path: '/list/2' },
      ])
      expect(patchOf(({ list }) => void list.push(item(7), item(8)))).deep.equal([
        { op: 'add', path: '/list/-', value: item(7) },
        { op: 'add', path: '/list/-', value: item(8) },
      ])
      expect(patchOf(({ list }) => void list.pop())).deep.equal([{ op: 'remove', path: `/list/${elements}` }])
      expect(patchOf(({ list }) => void list.push(list.shift() as Item))).deep.equal([
        { op: 'remove', path: '/list/0' },
        { op: 'add', path: '/list/-', value: item(0) },
      ])
      expect(
        patchOf((draft) => ({ ...draft, list: draft.list.filter(({ id }) => id !== 2).map((one) => ({ ...one })) })),
        'an element less, and all made anew',
      ).deep.equal([{ op: 'remove', path: '/list/2' }])
      const tree = make()
      const before = tree.value
      const { patch } = change(tree, (draft) => ({ ...draft, list: draft.list.map((one) => ({ ...one })) }))
      expect(patch).deep.equal([])
      expect(tree.value, 'and the old identity stays').equal(before)
    }
  })

  it('replaces an array that was rearranged at large, and never exceeds the operations of a patch', () => {
    const tree = createTree(state(WIDE) as never)
    const { patch } = change(tree, ({ list }) => void list.reverse())
    expect(patch.map(({ op, path }) => [op, path])).deep.equal([['replace', '/list']])
    const many = createTree(Array.from({ length: MAX_OPERATIONS + 1 }, (_, id) => id))
    const all = many.begin()
    all.run((draft) => (draft as number[]).map((n) => n + 1))
    const [only, ...others] = all.finish().patch
    expect([only?.op, only?.path, others.length]).deep.equal(['replace', '', 0])
  })

  it('keeps what was pinned', () => {
    const tree = wideTree()
    const earlier = change(tree, ({ list }) => void ((list[1] as Item).done = true))
    const pinned = tree.pin()
    const text = JSON.stringify(pinned)
    change(tree, (draft) => {
      draft.list.push(item(1))
      draft.map['new'] = item(1)
    })
    expect(JSON.stringify(pinned)).equal(text)
    expect(valueOf(tree).list.length).equal(WIDE + 1)
    change(tree, ({ other }) => void (other.n = 1))
    expect(() => earlier.undo()).to.throw(TypeError)
  })

  it('makes patches that never change, even where a wide container is moved', () => {
    const tree = wideTree()
    const moving = change(tree, (draft) => {
      ;(draft as unknown as Record<string, unknown>)['moved'] = draft.map
      delete (draft as Partial<State>).map
    })
    const text = JSON.stringify(moving.patch)
    const writing = change(tree, (draft) => {
      ;(draft as unknown as { moved: State['map'] }).moved['later'] = item(1)
    })
    expect(JSON.stringify(moving.patch)).equal(text)
    writing.undo()
    moving.undo()
    expect(JSON.stringify(moving.patch)).equal(text)
    const again = tree.begin()
    expect(again.apply(moving.patch)).equal(true)
    // The same transaction goes on writing to what the patch brought.
    again.run((draft) => void ((draft as { moved: State['map'] }).moved['later'] = item(2)))
    again.finish()
    change(tree, (draft) => void ((draft as unknown as { moved: State['map'] }).moved['last'] = item(3)))
    expect(JSON.stringify(moving.patch)).equal(text)
  })

  it('makes patches that never change, even where a wide container is copied and moved at once', () => {
    const tree = createTree(state(WIDE, WIDE) as never)
    const moving = change(tree, (draft) => {
      const { map } = draft
      delete (draft as Partial<State>).map
      map['now'] = item(1)
      ;(draft as unknown as Record<string, unknown>)['moved'] = map
    })
    const text = JSON.stringify(moving.patch)
    change(tree, (draft) => void ((draft as unknown as { moved: State['map'] }).moved['later'] = item(1)))
    expect(JSON.stringify(moving.patch)).equal(text)
  })

  it('finds what changed in a wide container inside an array', () => {
    const tree = createTree([state(WIDE).list, state(WIDE).list] as never)
    const set = (row: number, done: boolean) => {
      const transaction = tree.begin()
      transaction.run((draft) => void ((((draft as Item[][])[row] as Item[])[5] as Item).done = done))
      return transaction.finish().patch
    }
    set(1, true)
    expect(set(1, false)).deep.equal([{ op: 'replace', path: '/1/5/done', value: false }])
  })

  it('takes changes back in reverse order only', () => {
    const tree = wideTree()
    const start = JSON.stringify(tree.value)
    const first = change(tree, ({ list }) => void list.splice(4, 1))
    const second = change(tree, ({ list }) => void list.push(item(1)))
    expect(() => first.undo()).to.throw(TypeError, /latest/)
    second.undo()
    expect(() => second.undo()).to.throw(TypeError, /latest/)
    first.undo()
    expect(JSON.stringify(tree.value)).equal(start)
    const last = change(tree, ({ list }) => void list.pop())
    tree.reset(null)
    expect(() => last.undo()).to.throw(TypeError)
    expect(tree.value).equal(null)
  })

  it('runs one transaction at a time, and one program at a time in it', () => {
    const tree = createTree(state() as never)
    const transaction = tree.begin()
    expect(() => tree.begin()).to.throw(TypeError)
    expect(() => tree.pin()).to.throw(TypeError)
    expect(() => transaction.run(() => void transaction.run(() => undefined))).to.throw(/running/)
    transaction.rollback()
    expect(() => transaction.finish()).to.throw(TypeError, /over/)
    tree.begin().finish()
  })

  it('copies a container once per transaction', () => {
    const tree = createTree(state() as never)
    const transaction = tree.begin()
    const seen = [0, 1, 2].map((n) => {
      transaction.run((draft) => void ((draft as State).other.n = n + 1))
      expect(transaction.apply([{ op: 'replace', path: '/other/deep/n', value: n + 1 }])).equal(true)
      return (transaction.value as unknown as State).other
    })
    expect(new Set(seen).size).equal(1)
    expect(transaction.finish().patch).deep.equal([
      { op: 'replace', path: '/other/n', value: 3 },
      { op: 'replace', path: '/other/deep/n', value: 3 },
    ])
  })

  it('applies nothing that does not fit', () => {
    const misfits: Patch[number][] = [
      { op: 'replace', path: '/nothing', value: 1 },
      { op: 'remove', path: '/nothing' },
      { op: 'add', path: '/nothing/deep', value: 1 },
      { op: 'add', path: '/other/n/deep', value: 1 },
      { op: 'add', path: '/list/6', value: 1 },
      { op: 'add', path: '/list/01', value: 1 },
      { op: 'add', path: '/list/x', value: 1 },
      { op: 'replace', path: '/list/5', value: 1 },
      { op: 'replace', path: '/list/-', value: 1 },
      { op: 'remove', path: '/list/-' },
      { op: 'remove', path: '/list/length' },
      { op: 'add', path: '/list/-/deep', value: 1 },
      { op: 'replace', path: '/toString', value: 1 },
      { op: 'add', path: '/toString/x', value: 1 },
      { op: 'add', path: '/__proto__/x', value: 1 },
      { op: 'add', path: 'list', value: 1 },
      { op: 'add', path: '/other/deep/n', value: nest(MAX_DEPTH - 2) },
    ]
    for (const misfit of misfits) {
      const tree = createTree(state() as never)
      const transaction = tree.begin()
      expect(transaction.apply([{ op: 'replace', path: '/other/n', value: 5 }, misfit]), misfit.path).equal(false)
      transaction.rollback()
      expect(tree.value).deep.equal(state())
    }
    const tree = createTree(state() as never)
    const transaction = tree.begin()
    expect(
      transaction.apply([
        { op: 'add', path: '/list/5', value: 1 },
        { op: 'remove', path: '' },
      ]),
    ).equal(true)
    expect(transaction.apply([{ op: 'replace', path: '', value: 1 }])).equal(false)
    expect(transaction.apply([{ op: 'add', path: '', value: 1 }])).equal(true)
    expect(transaction.finish().patch).deep.equal([{ op: 'replace', path: '', value: 1 }])
  })

  it('freezes the narrow containers it makes, when asked to', () => {
    const tree = wideTree({ freeze: true })
    change(tree, ({ list, other }) => {
      other.n = 1
      list.push({ id: 1, deep: { n: 1 } } as Item)
    })
    const { list, other, map } = valueOf(tree)
    expect([Object.isFrozen(tree.value), Object.isFrozen(other)]).deep.equal([true, true])
    expect(Object.isFrozen((list[WIDE] as unknown as { deep: object }).deep)).equal(true)
    expect([Object.isFrozen(list), Object.isFrozen(map)]).deep.equal([false, false])
    change(tree, (draft) => void (draft.other.n = 2))
    expect(valueOf(tree).other.n).equal(2)
  })
})
