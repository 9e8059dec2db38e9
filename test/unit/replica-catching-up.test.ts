import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import type { EventInfo } from '#src/store/microstore.js'
import { increment, initial, seqs, world, type State } from '../suites/counters.js'
import { Host } from '../suites/replication.js'

describe('replica, on a new link', () => {
  describe('catching up', () => {
    it('shows nothing of a welcome before its position is reached, then all at once', () => {
      const { host, a, b } = world()
      a.mutate((state) => ({ ...state, title: 'pending' }))
      for (let i = 0; i < 3; i++) b.emit('add', 1)
      b.settle()
      a.link({ hears: false })
      const messages = a.down
      a.told.length = 0
      const commits = host.committed.map(({ commit }) => ({ command: 'commit' as const, payload: commit }))
      a.down = messages
      a.tell(...commits.slice(0, 2))
      a.replica.receive(a.down.splice(0))
      expect([a.state.n, a.told, a.replica.live, a.send()]).deep.equal([0, [], false, []])
      a.tell(...commits.slice(2))
      a.replica.receive(a.down.splice(0))
      expect([a.state.n, a.told.length, a.replica.live]).deep.equal([3, 1, true])
      expect(a.caughtUp.at(-1)).deep.equal({ by: 'commits', lost: [], first: false })
    })

    it('by snapshot: nothing of it either, and the events in between are not told', () => {
      const { host, a, b } = world()
      b.emit('add', 1)
      b.settle()
      const snapshot = { version: 1, state: { ...initial(), n: 1 } }
      b.emit('add', 1)
      b.settle()
      const events: string[] = []
      a.on(/./, (_state, _payload, { event }: EventInfo) => void events.push(event))
      a.link({ hears: false, snapshot })
      a.replica.receive(a.down.splice(0))
      expect(a.state.n).equal(0)
      a.hear()
      expect(a.state.n).equal(2)
      expect(a.caughtUp.at(-1)).deep.equal({ by: 'snapshot', lost: [], first: false })
      expect(host.state).deep.equal(a.state)
      expect(events, 'of before the position that the welcome names').deep.equal([])
    })

    it('says the first time that it is', () => {
      const { a } = world()
      expect(a.caughtUp).deep.equal([{ by: 'snapshot', lost: [], first: true }])
    })

    it('drops pending changes up to lastSeq, and sends everything else again', () => {
      const { host, a } = world()
      a.emit('add', 1)
      a.emit('add', 1)
      a.send()
      a.emit('add', 1)
      const [first] = a.up
      a.up = [first as never]
      a.take()
      a.link()
      expect([a.state.n, a.replica.pending]).deep.equal([3, 2])
      expect(seqs(a.send())).deep.equal([
        [2, 1],
        [3, 2],
      ])
      a.settle()
      expect(host.state.n).equal(3)
    })

    it('queues what is changed while it is cut off', () => {
      const { host, a } = world()
      a.cut()
      a.emit('add', 2)
      a.mutate((state) => ({ ...state, m: 1 }))
      expect([a.state.n, a.send()]).deep.equal([2, []])
      a.link()
      a.settle()
      expect(host.state).deep.include({ n: 2, m: 1 })
    })

    it('runs all of it again on a snapshot, before it is sent', () => {
      const { host, a } = world()
      a.mutate((state) => ({ ...state, title: `n is ${state.n}` }))
      a.send()
      a.cut()
      host.store.mutate((state) => void (state.n = 7))
      host.restart()
      a.link()
      expect(a.state).deep.include({ n: 7, title: 'n is 7' })
      const [sent] = a.send()
      expect(sent).deep.include({ seq: 1, prev: 0, base: 1 })
      a.settle()
      expect(host.state.title).equal('n is 7')
    })

    it('tells which acknowledged changes were taken back, does not send them again, and goes on with greater seqs', () => {
      const { host, a } = world()
      for (let i = 0; i < 3; i++) a.emit('add', 1)
      a.settle()
      const restored = new Host<State>({ ...initial(), n: 1 })
      restored.store.on('add', (state, by: number) => void (state.n += by))
      a.client.lastSeq = 1
      a.host = restored
      a.emit('add', 10)
      a.link()
      expect(a.caughtUp.at(-1)).deep.equal({ by: 'snapshot', lost: [2, 3], first: false })
      expect(a.state.n).equal(11)
      expect(seqs(a.send())).deep.equal([[4, 1]])
      a.settle()
      expect([restored.state.n, host.state.n]).deep.equal([11, 3])
    })

    it('remembers what was acknowledged across snapshots, and what a welcome itself acknowledged', () => {
      const { host, a } = world()
      a.emit('add', 1)
      a.settle()
      a.emit('add', 1)
      a.send()
      a.take()
      host.restart()
      a.link()
      expect([a.caughtUp.at(-1)?.lost, a.replica.pending]).deep.equal([[], 0])
      host.restart()
      a.client.lastSeq = 0
      a.link()
      expect(a.caughtUp.at(-1)?.lost).deep.equal([1, 2])
    })

    it('gives back as unknown-outcome what had left, when the master does not know it; the rest is sent with prev 0', () => {
      const { host, a } = world()
      a.emit('add', 1)
      a.settle()
      a.emit('add', 1)
      a.send()
      a.emit('add', 1)
      a.mutate((state) => ({ ...state, m: 1 }))
      a.cut()
      a.client = host.client()
      host.restart()
      a.link({ known: false })
      expect(a.refused.map(({ seq, error }) => [seq, error.code])).deep.equal([[2, 'unknown-outcome']])
      expect(seqs(a.send())).deep.equal([
        [3, 0],
        [4, 3],
      ])
      a.settle()
      expect(host.state).deep.include({ n: 2, m: 1 })
    })

    it('does not count as left what never could be sent', () => {
      const { host, a } = world()
      a.mutate((state) => ({ ...state, title: 'too large' }))
      a.emit('add', 1)
      a.replica.sendable()
      a.replica.reject(1, new NamedMasterError('too-large', 'too large'))
      a.cut()
      a.client = host.client()
      a.link({ known: false })
      expect(a.codes).deep.equal(['too-large'])
      a.settle()
      expect(host.state.n).equal(1)
    })

    it('takes a second welcome of the same link, and what came with it, without losing its place', () => {
      const { host, a } = world()
      a.emit('add', 1)
      a.send()
      const welcome = {
        version: 1,
        position: { term: host.term, version: 0 },
        by: 'snapshot',
        client: a.client.client,
        session: '0198c5e0-0000-7000-8000-000000000000',
        calls: [],
        encoding: 'json',
        lastSeq: 0,
      }
      a.tell(
        { command: 'welcome', payload: welcome },
        { command: 'snapshot', payload: { version: 0, state: initial() } },
      )
      a.take()
      a.hear()
      expect([a.state.n, a.replica.pending, a.send()]).deep.equal([1, 0, []])
      a.emit('add', 1)
      expect(seqs(a.send())).deep.equal([[2, 1]])
      a.settle()
      expect(host.state.n).equal(2)
    })

    it('keeps what is in flight on a link whose master sends another welcome', () => {
      const { host, a } = world()
      a.mutate(increment)
      a.send()
      const flying = a.up
      a.tell(
        {
          command: 'welcome',
          payload: {
            version: 1,
            position: { term: host.term, version: 0 },
            by: 'snapshot',
            client: a.client.client,
            session: '0198c5e0-0000-7000-8000-000000000000',
            calls: [],
            encoding: 'json',
            lastSeq: 0,
          },
        },
        { command: 'snapshot', payload: { version: 0, state: initial() } },
      )
      a.hear()
      expect([a.state.n, a.send()]).deep.equal([1, []])
      a.up = flying
      expect(a.take().map(({ outcome }) => outcome)).deep.equal(['committed'])
      a.settle()
      expect([host.state.n, a.state.n]).deep.equal([1, 1])
    })

    it('refuses what cannot be: a gap, a patch that does not fit, commits without a state', () => {
      const { a } = world()
      for (const commit of [
        { version: 2, patch: [], events: [] },
        { version: 1, patch: [{ op: 'remove', path: '/none' }], events: [] },
      ]) {
        a.tell({ command: 'commit', payload: commit })
        expect(() => a.hear())
          .throw()
          .with.property('code', 'invalid-message')
        expect(a.state).deep.equal(initial())
      }
    })

    it('asks for a snapshot after that; what is shown and queued stays', () => {
      const { host, a } = world()
      host.store.mutate((state) => void (state.m = 1))
      a.hear()
      a.emit('add', 1)
      a.tell({ command: 'commit', payload: { version: 9, patch: [], events: [] } })
      expect(() => a.hear()).throw()
      a.replica.forget()
      a.cut()
      expect([a.replica.position, a.replica.ready, a.replica.live]).deep.equal([undefined, true, false])
      expect(a.state).deep.include({ n: 1, m: 1 })
      a.emit('add', 1)
      a.mutate((state) => ({ ...state, title: 'meanwhile' }))
      expect(a.send()).deep.equal([])
      a.link()
      expect(a.caughtUp.at(-1)).deep.equal({ by: 'snapshot', lost: [], first: false })
      a.settle()
      expect(host.state).deep.include({ n: 2, m: 1, title: 'meanwhile' })
    })
  })

  it('keeps the schedule of the design: a conflict, a cut before its refusal, a restarted master', () => {
    const { host, a, b } = world()
    for (let i = 0; i < 4; i++) a.emit('add', 1)
    a.settle()
    a.mutate((state) => ({ ...state, title: `five on ${state.title ?? 'nothing'}` }))
    a.emit('add', 10)
    a.mutate((state) => ({ ...state, m: 7 }))
    expect(seqs(a.send())).deep.equal([
      [5, 4],
      [6, 5],
      [7, 6],
    ])
    b.hear()
    b.mutate((state) => ({ ...state, title: 'foreign' }))
    b.settle()
    a.hear()
    expect(a.state, '5 conflicts at home already').deep.equal({
      ...initial(),
      n: 14,
      m: 7,
      title: 'five on foreign',
    })
    expect(a.take().map(({ outcome }) => outcome)).deep.equal(['refused', 'dropped', 'dropped'])
    a.cut()
    host.restart()
    expect(a.client.lastSeq).equal(4)
    a.told.length = 0
    a.link()
    expect(a.told, 'shown once').length(1)
    expect(a.state).deep.equal({ ...initial(), n: 14, m: 7, title: 'five on foreign' })
    expect(seqs(a.send())).deep.equal([
      [5, 4],
      [6, 5],
      [7, 6],
    ])
    expect(a.take().map(({ outcome }) => outcome)).deep.equal(['committed', 'committed', 'committed'])
    a.hear()
    expect([a.replica.pending, a.codes, host.authority.version]).deep.equal([0, [], 8])
    expect(host.state).deep.equal({ ...initial(), n: 14, m: 7, title: 'five on foreign' })
    expect(a.state).deep.equal(host.state)
  })
})
