import { expect } from 'chai'
import { envelope } from '#src/protocol/envelope.js'
import { MAX_DEPTH, type JsonValue } from '#src/protocol/json.js'
import { parseDown, type Patch } from '#src/protocol/replication.js'
import { Host } from '../suites/replication.js'

const set = (path: string, value: JsonValue): Patch => [{ op: 'replace', path, value }]
const add = (path: string, value: JsonValue): Patch => [{ op: 'add', path, value }]
const remove = (path: string): Patch => [{ op: 'remove', path }]

interface State {
  a: { b: number; c: number }
  list: (number | { x: number })[]
}
const initial = (): State => ({ a: { b: 0, c: 0 }, list: [0, 1, { x: 2 }] })

/** What becomes of a mutate on the first state, after another client's has been committed. */
function after(theirs: Patch, mine: Patch): string {
  const host = new Host(initial())
  const [other, client] = [host.client(), host.client()]
  const base = host.authority.version
  expect(host.mutate(other, theirs)).deep.equal({ outcome: 'committed' })
  const outcome = host.mutate(client, mine, { base })
  return outcome.outcome === 'refused' ? outcome.code : outcome.outcome
}

describe('authority', () => {
  describe('prev and seq', () => {
    it('takes a change whose prev is the seq of the last commit of its client', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      expect(host.emit(client, 'e', { seq: 4, prev: 0 }).outcome).equal('committed')
      expect(client.lastSeq).equal(4)
      expect(host.mutate(client, set('/n', 1), { seq: 9, prev: 4 }).outcome).equal('committed')
      expect(client.lastSeq).equal(9)
      expect(host.committed.map(({ commit }) => commit.origin)).deep.equal([
        { client: client.client, seq: 4 },
        { client: client.client, seq: 9 },
      ])
    })

    it('drops a repeat, and tells nobody', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      host.emit(client, 'e', { seq: 1, prev: 0 })
      expect(host.emit(client, 'e', { seq: 1, prev: 0 })).deep.equal({ outcome: 'dropped' })
      expect(host.mutate(client, set('/n', 1), { seq: 1, prev: 0 })).deep.equal({ outcome: 'dropped' })
      expect(host.authority.version).equal(1)
    })

    it('drops what was built on something refused', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      expect(host.mutate(client, remove('/none'), { seq: 1, prev: 0 })).include({ code: 'invalid-patch' })
      expect(host.emit(client, 'e', { seq: 2, prev: 1 })).deep.equal({ outcome: 'dropped' })
      expect(host.mutate(client, set('/n', 1), { seq: 3, prev: 2 })).deep.equal({ outcome: 'dropped' })
      expect(host.authority.version).equal(0)
    })

    it('drops a seq that does not grow', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      host.emit(client, 'e', { seq: 5, prev: 0 })
      expect(host.emit(client, 'e', { seq: 5, prev: 5 }).outcome).equal('dropped')
      expect(host.emit(client, 'e', { seq: 4, prev: 5 }).outcome).equal('dropped')
    })

    it('keeps nothing of a refusal: the change may be sent again under its seq', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      expect(host.mutate(client, remove('/none'), { seq: 1, prev: 0 }).outcome).equal('refused')
      expect(client.lastSeq).equal(0)
      expect(host.mutate(client, set('/n', 1), { seq: 1, prev: 0 }).outcome).equal('committed')
    })

    it('keeps each client’s own order, whatever others do', () => {
      const host = new Host({ n: 0 })
      const [a, b] = [host.client(), host.client()]
      host.emit(a, 'e', { seq: 1, prev: 0 })
      expect(host.emit(b, 'e', { seq: 1, prev: 0 }).outcome).equal('committed')
      expect(host.emit(a, 'e', { seq: 2, prev: 1 }).outcome).equal('committed')
    })
  })

  describe('commits', () => {
    it('numbers every change in one order, the program’s own among them', () => {
      const host = new Host({ n: 0 })
      host.store.on('e', (state) => ({ n: state.n + 1 }))
      const client = host.client()
      host.emit(client, 'e')
      host.store.emit('e')
      host.mutate(client, set('/n', 7))
      host.store.mutate((state) => void state.n++)
      expect(host.committed.map(({ commit }) => [commit.version, commit.origin?.seq])).deep.equal([
        [1, 1],
        [2, undefined],
        [3, 2],
        [4, undefined],
      ])
      expect(host.state).deep.equal({ n: 8 })
      expect(host.authority.version).equal(4)
    })

    it('makes a commit of an emit without a handler, with an empty patch', () => {
      const host = new Host({ n: 0 })
      host.emit(host.client(), 'nobody', { payload: { x: 1 } })
      const [entry] = host.committed
      expect(entry?.commit.patch).deep.equal([])
      expect(entry?.commit.events.map(({ event, payload }) => [event, payload])).deep.equal([['nobody', { x: 1 }]])
    })

    it('makes a commit of a mutate that writes what is there already', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      expect(host.mutate(client, set('/n', 0)).outcome).equal('committed')
      expect(host.committed[0]?.commit).deep.include({ patch: [], events: [] })
      expect(client.lastSeq).equal(1)
    })

    it('encodes a commit once, as a message that a slave can read', () => {
      const host = new Host({ n: 0 })
      host.store.on('e', (state) => ({ n: state.n + 1 }))
      host.emit(host.client(), 'e', { payload: null })
      const [entry] = host.committed
      const parsed = parseDown(JSON.parse(entry?.text ?? ''))
      expect(parsed.ok && parsed.value.payload).deep.equal(entry?.commit)
    })

    it('refuses what a handler threw, and nothing of the event has happened', () => {
      const host = new Host({ n: 0, log: [] as string[] })
      host.store.on('e', (state) => void state.log.push('before'))
      host.store.on('e', () => {
        throw new Error('not today')
      })
      const client = host.client()
      const outcome = host.emit(client, 'e')
      expect(outcome).deep.equal({ outcome: 'refused', code: 'handler-failed', message: 'not today' })
      expect([host.state, host.authority.version, client.lastSeq]).deep.equal([{ n: 0, log: [] }, 0, 0])
    })

    it('never changes what it was given, nor a commit it has made', () => {
      const wide = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, { n: 0 }]))
      const host = new Host<Record<string, JsonValue>>({})
      const client = host.client()
      const patch = add('/wide', structuredClone(wide))
      host.mutate(client, patch)
      const text = JSON.stringify([patch, host.committed[0]?.commit])
      host.mutate(client, set('/wide/k1/n', 1))
      host.mutate(client, add('/wide/more', 1))
      host.store.mutate((state) => void ((state['wide'] as Record<string, JsonValue>)['k2'] = 5))
      host.store.mutate((state) => void ((state['wide'] as Record<string, JsonValue>)['k3'] = 5))
      expect(JSON.stringify([patch, host.committed[0]?.commit])).equal(text)
    })

    it('refuses a value that would nest the state too deeply, however the patches pile up', () => {
      const host = new Host<JsonValue>({})
      const client = host.client()
      let path = ''
      for (let depth = 1; depth < MAX_DEPTH; depth++) {
        path += '/d'
        expect(host.mutate(client, add(path, {})).outcome).equal('committed')
      }
      expect(host.mutate(client, add(`${path}/d`, {}))).include({ code: 'invalid-patch' })
      expect(host.mutate(client, add(`${path}/d`, 1)).outcome, 'no container').equal('committed')
      const snapshot = envelope('snapshot', { version: host.authority.version, state: host.state })
      expect(parseDown(JSON.parse(JSON.stringify(snapshot))).ok).equal(true)
    })
  })

  describe('conflicts', () => {
    it('refuses a mutate when a commit after its base wrote an equal path', () => {
      expect(after(set('/a/b', 1), set('/a/b', 2))).equal('conflict')
    })
    it('refuses it when a commit wrote above', () => {
      expect(after(set('/a', { b: 1, c: 1 }), set('/a/b', 2))).equal('conflict')
      expect(after(set('', { a: { b: 1, c: 1 }, list: [] }), set('/a/b', 2))).equal('conflict')
    })
    it('refuses it when a commit wrote below', () => {
      expect(after(set('/a/b', 1), set('/a', { b: 2, c: 2 }))).equal('conflict')
    })
    it('takes it when commits wrote beside', () => {
      expect(after(set('/a/b', 1), set('/a/c', 2))).equal('committed')
      expect(after(add('/a/bb', 1), set('/a/b', 2))).equal('committed')
    })
    it('takes an insertion or a removal in an array as a write of the array', () => {
      expect(after(add('/list/0', 9), set('/list/2/x', 2))).equal('conflict')
      expect(after(remove('/list/2'), set('/list/0', 2))).equal('conflict')
      expect(after(set('/list/0', 9), add('/list/1', 2))).equal('conflict')
      expect(after(set('/list/0', 9), remove('/list/1'))).equal('conflict')
      expect(after(set('/list/0', 9), set('/list/1', 2))).equal('committed')
    })
    it('lets an append meet only writes of the array or above, not appends or elements', () => {
      expect(after(add('/list/-', 9), add('/list/-', 8))).equal('committed')
      expect(after(set('/list/0', 9), add('/list/-', 8))).equal('committed')
      expect(after(set('/list', []), add('/list/-', 8))).equal('conflict')
      expect(after(set('', { a: { b: 1, c: 1 }, list: [] }), add('/list/-', 8))).equal('conflict')
      expect(after(add('/list/0', 9), add('/list/-', 8))).equal('conflict')
    })
    it('takes a committed append as a write of its index and of every higher one', () => {
      expect(after(add('/list/-', 9), set('/list/3', 1)), 'its index').equal('conflict')
      expect(after(add('/list/-', 9), set('/list/2', 1))).equal('committed')
      expect(after(add('/list/-', 9), set('/list', [])), 'above').equal('conflict')
      const high = new Host({ list: [0] as number[] })
      const [a, b] = [high.client(), high.client()]
      high.mutate(a, add('/list/-', 1))
      high.mutate(a, add('/list/-', 2))
      expect(high.mutate(b, set('/list/2', 9), { base: 0 }), 'a higher one').include({ code: 'conflict' })
    })
    it('takes a commit of the program, and of an event, like any other', () => {
      for (const change of ['emit', 'program'] as const) {
        const host = new Host({ n: 0, m: 0 })
        host.store.on('inc', (state) => void state.n++)
        if (change === 'emit') host.emit(host.client(), 'inc')
        else host.store.mutate((state) => void state.n++)
        expect(host.mutate(host.client(), set('/n', 9), { base: 0 })).include({ code: 'conflict' })
        expect(host.mutate(host.client(), set('/m', 9), { base: 0 }).outcome).equal('committed')
      }
    })
    it('never lets a client’s own mutates conflict with each other', () => {
      const host = new Host({ n: 0 })
      const client = host.client()
      for (let n = 1; n <= 3; n++) expect(host.mutate(client, set('/n', n), { base: 0 }).outcome).equal('committed')
      expect(host.state.n).equal(3)
    })
    it('lets a client’s own emits conflict with its mutates', () => {
      const host = new Host({ n: 0 })
      host.store.on('inc', (state) => void state.n++)
      const client = host.client()
      host.emit(client, 'inc')
      expect(host.mutate(client, set('/n', 9), { base: 0 })).include({ code: 'conflict' })
    })
    it('takes what a listener changes while a mutate is told for a change of the program', () => {
      const host = new Host({ n: 0, seen: 0 })
      const off = host.store.subscribe(() => {
        off()
        host.store.mutate((state) => void (state.seen = state.n))
      })
      const client = host.client()
      host.mutate(client, set('/n', 1))
      expect(host.mutate(client, set('/seen', 9), { base: 1 })).include({ code: 'conflict' })
    })
    it('refuses a mutate whose base is older than the log', () => {
      const host = new Host({ text: '', n: 0 })
      for (let i = 0; i < 12; i++) host.store.mutate((state) => void (state.text = `${i}`.padEnd(1024 * 1024)))
      expect(host.authority.oldest).above(0)
      expect(host.mutate(host.client(), set('/n', 1), { base: 0 })).include({ code: 'conflict' })
      const base = host.authority.oldest
      expect(host.mutate(host.client(), set('/n', 1), { base }).outcome, 'the oldest it knows').equal('committed')
    })
    it('keeps as many characters of commits as the latest snapshot has, at least 8 Mi', () => {
      const host = new Host({ text: '' })
      host.authority.keep(12 * 1024 * 1024)
      for (let i = 0; i < 30; i++) host.store.mutate((state) => void (state.text = `${i}`.padEnd(1024 * 1024)))
      const kept = host.authority.charactersSince(0)
      expect(kept).within(11 * 1024 * 1024, 16 * 1024 * 1024)
    })
    it('calls a patch that does not fit the very state it was made on an invalid one', () => {
      const host = new Host({ n: 0 })
      for (const patch of [remove('/none'), set('/n/deeper', 1), add('/list/0', 1)]) {
        expect(host.mutate(host.client(), patch)).include({ code: 'invalid-patch' })
      }
      expect(host.mutate(host.client(), set('/n', 1), { base: 7 }), 'a base to come').include({ code: 'invalid-patch' })
      expect(host.state).deep.equal({ n: 0 })
    })
    it('calls it a conflict when there was a commit since', () => {
      const host = new Host<{ n: number; old?: { x: number } }>({ n: 0, old: { x: 1 } })
      host.store.mutate((state) => void delete state.old)
      expect(host.mutate(host.client(), set('/old/x', 1), { base: 0 })).include({ code: 'conflict' })
    })
    it('takes all of a patch or nothing', () => {
      const host = new Host(initial())
      const patch: Patch = [...set('/a/b', 9), ...remove('/list/7')]
      expect(host.mutate(host.client(), patch).outcome).equal('refused')
      expect(host.state).deep.equal(initial())
    })
  })

  describe('reservations', () => {
    const racing = () => {
      const host = new Host({ n: 0, m: 0, list: [1, 2, 3] })
      host.store.on('inc', (state) => void state.n++)
      const [loser, winner] = [host.client(), host.client()]
      /** The loser's base is always one behind. */
      const lose = (times: number, roundTrip = 100) => {
        for (let i = 0; i < times; i++) {
          const base = host.authority.version
          expect(host.mutate(winner, set('/n', i), {}).outcome).equal('committed')
          const { seq, prev } = { seq: loser.lastSeq + 1, prev: loser.lastSeq }
          expect(host.mutate(loser, set('/n', 9), { base, seq, prev }, roundTrip)).include({ code: 'conflict' })
        }
      }
      return { host, loser, winner, lose }
    }

    it('lets others’ mutates of its paths wait after four conflicts in a row, until it is answered', () => {
      const { host, loser, winner, lose } = racing()
      lose(4)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('held')
      expect(host.mutate(winner, set('/m', 1)).outcome, 'other paths').equal('committed')
      expect(host.mutate(loser, set('/n', 9)).outcome, 'the fifth attempt').equal('committed')
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
      expect(host.authority.reservedUntil).equal(undefined)
    })

    it('does not before', () => {
      const { host, winner, lose } = racing()
      lose(3)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
    })

    it('counts a row that a commit of its own breaks anew', () => {
      const { host, loser, winner, lose } = racing()
      lose(3)
      host.mutate(loser, set('/m', 1))
      lose(1)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
    })

    it('lets neither emits nor the program’s own changes wait', () => {
      const { host, winner, lose } = racing()
      lose(4)
      expect(host.emit(winner, 'inc').outcome).equal('committed')
      host.store.mutate((state) => void (state.n = 50))
      expect(host.state.n).equal(50)
    })

    it('makes nobody wait longer than two round trips, nor than two seconds', () => {
      for (const [roundTrip, wait] of [
        [100, 200],
        [30_000, 2000],
      ] as const) {
        const { host, winner, lose } = racing()
        lose(4, roundTrip)
        expect(host.authority.reservedUntil).equal(wait)
        host.now = wait - 1
        expect(host.mutate(winner, set('/n', 1)).outcome).equal('held')
        host.now = wait
        expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
      }
    })

    it('favours one client for at most a tenth of the time', () => {
      const { host, loser, winner, lose } = racing()
      lose(4)
      host.now = 100
      host.mutate(loser, set('/n', 9))
      lose(4)
      expect(host.mutate(winner, set('/n', 1)).outcome, 'it had 100 ms').equal('committed')
      host.now = 1000
      lose(1)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('held')
    })

    it('counts a reservation that ran out by the time it lasted, though nobody asked for long', () => {
      const { host, winner, lose } = racing()
      lose(4)
      host.now = 1_000_000
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
      lose(1)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('held')
    })

    it('lets a reservation that ran out keep nobody else from one', () => {
      const { host, lose } = racing()
      lose(4)
      host.now = 5000
      const [third, fourth] = [host.client(), host.client()]
      for (let i = 0; i < 4; i++) {
        const base = host.authority.version
        host.store.mutate((state) => void state.m++)
        host.mutate(third, set('/m', 1), { base }, 100)
      }
      expect(host.mutate(fourth, set('/m', 5)).outcome).equal('held')
    })

    it('holds for a patch that no longer applies, and for a base that is gone', () => {
      const { host, winner } = racing()
      const loser = host.client()
      for (let i = 0; i < 4; i++) {
        const base = host.authority.version
        host.mutate(winner, i === 0 ? set('/list', []) : set('/n', i))
        expect(host.mutate(loser, remove('/list/2'), { base }, 100)).include({ code: 'conflict' })
      }
      expect(host.mutate(winner, add('/list/-', 1)).outcome).equal('held')
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
    })

    it('ends when its client is gone', () => {
      const { host, loser, winner, lose } = racing()
      lose(4)
      host.authority.forget(loser)
      expect(host.mutate(winner, set('/n', 1)).outcome).equal('committed')
    })
  })

  it('takes the program’s changes only while it may: storage-full', () => {
    const host = new Host({ n: 0 })
    host.full = true
    for (const change of [() => host.store.emit('e'), () => host.store.mutate((state) => void state.n++)]) {
      expect(change).throw().with.property('code', 'storage-full')
    }
    expect(host.state).deep.equal({ n: 0 })
    expect(host.authority.version).equal(0)
  })

  it('lets go of the store when it is closed', () => {
    const host = new Host({ n: 0 })
    host.full = true
    host.authority.close()
    host.store.mutate((state) => void state.n++)
    expect([host.state.n, host.committed.length]).deep.equal([1, 0])
  })

  it('is the only owner of its store', () => {
    const host = new Host({ n: 0 })
    expect(() => new Host({ n: 0 }, host.core)).throw(TypeError)
  })
})
