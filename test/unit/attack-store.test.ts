/** Changes that are small to send and dear to judge. */
import { expect } from 'chai'
import type { Patch } from '#src/protocol/replication.js'
import { Authority, newClient } from '#src/store/authority.js'
import { createStore } from '#src/store/index.js'
import { coreOf, type StoreCore } from '#src/store/store.js'
import { createTree } from '#src/store/tree.js'

const identity = { id: '01990000-0000-7000-8000-000000000000', at: 0 }

describe('a store with a hostile slave', () => {
  it('compares a client only so often with a long log, and others as before', () => {
    let now = 0
    const authority = new Authority(coreOf(createStore({ a: 0, b: 0 })) as StoreCore, {
      encode: () => 'x',
      now: () => now,
      admit: () => undefined,
      committed: () => undefined,
      volatile: () => undefined,
    })
    const talker = newClient(1)
    const commits = 10_000
    for (let seq = 1; seq <= commits; seq++) authority.emit(talker, { ...identity, seq, prev: seq - 1, event: 'x' })
    const mutate = (client: ReturnType<typeof newClient>, path: string) =>
      authority.mutate(client, {
        ...identity,
        seq: client.lastSeq + 1,
        prev: client.lastSeq,
        base: 0,
        patch: [{ op: 'replace', path, value: 1 }],
      })
    const hostile = newClient(2)
    const outcomes = Array.from({ length: 200 }, () => mutate(hostile, '/a').outcome)
    expect(outcomes.indexOf('refused')).to.be.within(90, 100)
    expect(outcomes.lastIndexOf('committed')).to.be.lessThan(100)
    expect(mutate(newClient(3), '/b').outcome).to.equal('committed')
    now += 1000
    expect(mutate(hostile, '/a').outcome).to.equal('committed')
  })

  it('takes no patch that moves elements without end, and leaves the state as it was', () => {
    const tree = createTree({ list: [1] })
    const wide = new Array<number>(1_000_000).fill(0)
    const patch: Patch = [
      { op: 'replace', path: '/list', value: wide },
      ...Array.from({ length: 3000 }, () => ({ op: 'add', path: '/list/0', value: 7 }) as const),
    ]
    const transaction = tree.begin()
    expect(transaction.apply(patch)).to.equal(false)
    transaction.rollback()
    expect(tree.value).to.deep.equal({ list: [1] })
    const modest = tree.begin()
    expect(modest.apply(patch.slice(0, 1000))).to.equal(true)
    modest.rollback()
  })
})
