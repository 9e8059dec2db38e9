import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import type { EventInfo } from '#src/store/microstore.js'
import { MAX_PENDING_CHANGES } from '#src/store/replica.js'
import { Host, settle, type Guest } from '../suites/replication.js'

interface State {
  n: number
  m: number
  list: string[]
  title?: string
}
const initial = (): State => ({ n: 0, m: 0, list: [] })

/** A master with two slaves; all of them know what `add` does. */
function world() {
  const host = new Host(initial())
  const add = (state: State, by: number): void => void (state.n += by)
  host.store.on('add', add)
  const [a, b] = [host.join(), host.join()]
  for (const guest of [a, b]) guest.on('add', add as never)
  return { host, a, b }
}

const increment = (state: State): State => ({ ...state, n: state.n + 1 })
const seqs = (payloads: readonly { seq: number; prev: number }[]): number[][] =>
  payloads.map(({ seq, prev }) => [seq, prev])

describe('replica', () => {
  describe('before the first state', () => {
    it('refuses emit and mutate: not-connected', () => {
      const host = new Host(initial())
      const guest = host.join()
      const { replica } = new (guest.constructor as new (...args: unknown[]) => Guest<State>)(host, host.client())
      expect(() => replica.mutate(() => undefined, 'id', 0))
        .throw()
        .with.property('code', 'not-connected')
      expect(() => replica.emit({ event: 'e', id: 'id', at: 0 }))
        .throw()
        .with.property('code', 'not-connected')
      expect([replica.value, replica.position, replica.live, replica.ready]).deep.equal([
        undefined,
        undefined,
        false,
        false,
      ])
    })
  })

  describe('own changes', () => {
    it('show at once, and never flicker through an older value', () => {
      const { host, a, b } = world()
      const shown: number[] = []
      a.replica.events.on('changed', () => shown.push(a.state.n))
      a.emit('add', 1)
      a.mutate((state) => void (state.m = 5))
      a.emit('add', 1)
      expect(a.state).deep.equal({ ...initial(), n: 2, m: 5 })
      a.send()
      b.mutate((state) => ({ ...state, title: 'by b' }))
      b.turn()
      a.take()
      a.hear()
      settle(a, b)
      expect(a.state).deep.equal({ ...initial(), n: 2, m: 5, title: 'by b' })
      expect(b.state).deep.equal(a.state)
      expect(host.state).deep.equal(a.state)
      expect(shown).deep.equal([...shown].sort())
    })

    it('grow in seq; prev is the preceding change that still stands', () => {
      const { a } = world()
      a.emit('add', 1)
      a.mutate((state) => void (state.m = 1))
      expect(seqs(a.send())).deep.equal([
        [1, 0],
        [2, 1],
      ])
      a.take()
      a.hear()
      a.emit('add', 1)
      expect(seqs(a.send())).deep.equal([[3, 2]])
    })

    it('leave once, in order', () => {
      const { a } = world()
      a.emit('add', 1)
      expect(a.send()).length(1)
      expect(a.send()).length(0)
      a.emit('add', 1)
      expect(seqs(a.send())).deep.equal([[2, 1]])
    })

    it('that change nothing: an emit is sent all the same, a mutate is not', () => {
      const { a } = world()
      a.mutate(() => undefined)
      a.mutate((state) => ({ ...state, n: 0 }))
      a.emit('nobody listens')
      expect(a.send().map((payload) => 'event' in payload && payload.event)).deep.equal(['nobody listens'])
    })

    it('that do nothing stand in the way of nothing', () => {
      const { a, b } = world()
      a.emit('add', 1)
      a.mutate(() => undefined)
      a.mutate((state) => ({ ...state, n: 1 }))
      b.emit('add', 5)
      b.settle()
      a.hear()
      expect(a.state.n).equal(6)
      a.settle()
      expect(a.state.n).equal(6)
    })

    it('are lost when the mutator throws: to its caller, and nothing has happened', () => {
      const { a } = world()
      const fault = new Error('mine')
      expect(() =>
        a.mutate((state) => {
          state.n = 9
          throw fault
        }),
      ).throw(fault)
      expect([a.state, a.replica.pending, a.send()]).deep.equal([initial(), 0, []])
    })

    it('are refused inside handlers and mutators: store-busy', () => {
      const { a } = world()
      const codes: string[] = []
      const attempt = (change: () => void) => () => {
        try {
          change()
        } catch (error) {
          codes.push((error as NamedMasterError).code)
        }
      }
      a.on(
        'e',
        attempt(() => a.mutate(() => undefined)),
      )
      a.emit('e')
      a.mutate(attempt(() => a.mutate(() => undefined)))
      a.mutate(attempt(() => a.emit('e')))
      expect(codes).deep.equal(['store-busy', 'store-busy', 'store-busy'])
    })

    it('are bounded: outbox-full', () => {
      const { a } = world()
      for (let i = 0; i < MAX_PENDING_CHANGES; i++) a.emit('add', 1)
      expect(() => a.emit('add', 1))
        .throw()
        .with.property('code', 'outbox-full')
      expect(() => a.mutate(increment))
        .throw()
        .with.property('code', 'outbox-full')
      a.settle()
      a.emit('add', 1)
      expect(a.state.n).equal(MAX_PENDING_CHANGES + 1)
    })

    it('that a hundred mutates make at two slaves each are all there', () => {
      const { host, a, b } = world()
      for (let i = 0; i < 100; i++) {
        a.mutate(increment)
        b.mutate(increment)
        a.turn()
        b.turn()
      }
      settle(a, b)
      expect([host.state.n, a.state.n, b.state.n]).deep.equal([200, 200, 200])
    })
  })

  describe('handlers', () => {
    const watched = () => {
      const { host, a, b } = world()
      const runs: { event: string; phase: string; origin: EventInfo['origin']; id: string; at: number }[] = []
      a.on(/./, (_state, _payload, { event, phase, origin, id, at }: EventInfo) => {
        runs.push({ event, phase, origin, id, at })
        return undefined
      })
      return { host, a, b, runs, phases: () => runs.splice(0).map(({ event, phase }) => `${phase} ${event}`) }
    }

    it('run at an own emit in phase predict, and never again for its own commit', () => {
      const { a, phases } = watched()
      a.emit('add', 1)
      expect(phases()).deep.equal(['predict add'])
      a.settle()
      expect(phases()).deep.equal([])
      expect(a.state.n).equal(1)
    })

    it('run for another’s event in phase commit, on the state that is there already; their result is ignored', () => {
      const { a, b, runs, phases } = watched()
      const seen: number[] = []
      a.on('add', (state) => {
        seen.push(state.n)
        return { ...state, n: 1000 }
      })
      b.emit('add', 5)
      b.settle()
      a.hear()
      expect(runs[0]?.origin).deep.equal({ client: b.client.client, seq: 1 })
      expect(phases()).deep.equal(['commit add'])
      expect(seen).deep.equal([5])
      expect(a.state.n).equal(5)
    })

    it('run again in phase rerun when the state below has changed, and not when they were idle', () => {
      const { a, b, phases } = watched()
      const runs: string[] = []
      a.on('double', (state, _payload, { phase }: EventInfo) => {
        runs.push(phase)
        state.m = state.n * 2 + 1
      })
      a.emit('double')
      expect([phases(), a.state.m]).deep.equal([['predict double'], 1])
      a.send()
      b.emit('add', 3)
      b.settle()
      a.hear()
      expect(runs).deep.equal(['predict', 'rerun'])
      expect(phases(), 'the idle one').deep.equal(['commit add'])
      expect(a.state.m).equal(7)
    })

    it('are told the same id, time and origin in predict, rerun and at the master', () => {
      const { host, a, b, runs } = watched()
      const atMaster: EventInfo[] = []
      host.store.on('own', (_state, _payload, info) => void atMaster.push(info))
      const here: EventInfo[] = []
      a.on('own', (state, _payload, info) => {
        here.push(info as EventInfo)
        state.m = state.n
        return state
      })
      a.emit('own')
      b.emit('add', 1)
      b.settle()
      a.hear()
      a.settle()
      expect(here.map(({ phase }) => phase)).deep.equal(['predict', 'rerun'])
      const [{ id, at }] = runs as [EventInfo]
      const origin = { client: a.client.client, seq: 1 }
      for (const info of [...here, ...atMaster]) expect(info).include({ id, at }).and.deep.include({ origin })
    })

    it('that emit inside predict it, and send only the outer event', () => {
      const { host, a, b } = watched()
      for (const store of [
        { on: host.store.on.bind(host.store), emit: host.store.emit.bind(host.store) },
        { on: a.on.bind(a), emit: a.emit.bind(a) },
      ]) {
        store.on('outer', (() => store.emit('add', 2)) as never)
      }
      a.emit('outer')
      expect(a.state.n).equal(2)
      expect(a.send().map((payload) => 'event' in payload && payload.event)).deep.equal(['outer'])
      a.take()
      a.hear()
      b.hear()
      expect([host.state.n, a.state.n, b.state.n]).deep.equal([2, 2, 2])
      expect(a.warnings).deep.equal([])
    })

    it('that emit for another’s event are warned, and nothing is sent', () => {
      const { a, b } = watched()
      a.on('add', () => a.emit('answer'))
      b.emit('add', 1)
      b.settle()
      a.hear()
      expect([a.warnings.length, a.replica.pending, a.send()]).deep.equal([1, 0, []])
    })

    it('that throw only predict nothing; what the master decides is shown', () => {
      const { host, a } = watched()
      host.store.on('set', (state) => void (state.m = 7))
      a.on('set', (state) => {
        state.m = 99
        throw new Error('mine')
      })
      a.emit('set')
      expect(a.state.m).equal(0)
      a.settle()
      expect([a.state.m, a.codes]).deep.equal([7, []])
    })

    it('that throw for another’s event are reported, and cost nothing else', () => {
      const { a, b } = watched()
      a.on('add', () => {
        throw new Error('mine')
      })
      b.emit('add', 1)
      b.settle()
      a.hear()
      expect(a.reported.map((error) => (error as Error).message)).deep.equal(['mine'])
      expect(a.state.n).equal(1)
    })

    it('of a volatile event run once, phase volatile, and change nothing', () => {
      const { a, runs } = watched()
      a.on('cursor', (state) => void (state.n = 99))
      a.replica.volatile({ event: 'cursor', id: 'id', at: 5 }, 7)
      expect(runs).deep.equal([{ event: 'cursor', phase: 'volatile', origin: { client: 7 }, id: 'id', at: 5 }])
      expect([a.state.n, a.replica.pending]).deep.equal([0, 0])
    })
  })

  describe('listeners', () => {
    it('are told once per batch, with its version and all paths', () => {
      const { a, b } = world()
      a.emit('add', 1)
      a.send()
      a.told.length = a.versions.length = 0
      for (let i = 0; i < 3; i++) b.emit('add', 1)
      b.mutate(({ list }) => void list.push('x'))
      b.settle()
      a.take()
      a.hear()
      expect(a.versions).deep.equal([5])
      expect(a.told[0]).have.members(['/n', '/list/-'])
      expect(a.state).deep.equal({ ...initial(), n: 4, list: ['x'] })
    })

    it('are told of an own change when it is made, and not again when it is committed as it was shown', () => {
      const { a } = world()
      a.told.length = 0
      a.emit('add', 1)
      expect(a.told).deep.equal([['/n']])
      a.settle()
      expect(a.told).length(1)
      expect(a.replica.version).equal(1)
    })

    it('find the whole state, and may change it at once', () => {
      const { a, b } = world()
      const off = a.replica.events.on('changed', () => {
        off()
        a.mutate((state) => void (state.m = state.n))
      })
      b.emit('add', 4)
      b.settle()
      a.hear()
      expect(a.state).deep.include({ n: 4, m: 4 })
      settle(a, b)
      expect(b.state.m).equal(4)
    })
  })

  describe('refusals', () => {
    it('on conflict run the mutate again, and send it with the same seq, uuid and timestamp', () => {
      const { host, a, b } = world()
      a.mutate(increment)
      a.replica.sendable()
      const [first] = (a.replica.relink(), a.link(), a.replica.sendable())
      a.up = [first as never]
      b.mutate(increment)
      b.settle()
      expect(a.take().map(({ outcome }) => outcome)).deep.equal(['refused'])
      a.hear()
      expect(a.state.n).equal(2)
      const [again] = a.replica.sendable()
      expect(again).include({ id: first?.id, at: first?.at, command: 'mutate' })
      expect(again?.payload).deep.equal({
        seq: 1,
        prev: 0,
        base: host.authority.version,
        patch: [{ op: 'replace', path: '/n', value: 2 }],
      })
    })

    it('act when their version is applied, not before', () => {
      const { a } = world()
      a.mutate(increment)
      a.send()
      a.up = []
      const refused = { seq: 1, version: 1, code: 'not-allowed', message: 'no' }
      a.tell({ command: 'refused', payload: refused })
      a.hear()
      expect([a.codes, a.replica.pending, a.state.n]).deep.equal([[], 1, 1])
      a.host.store.mutate((state) => void (state.m = 1))
      a.hear()
      expect([a.codes, a.replica.pending, a.state]).deep.equal([['not-allowed'], 0, { ...initial(), m: 1 }])
    })

    it('of any other code take the change out and tell the program; later ones are run again and sent', () => {
      const { host, a } = world()
      host.store.on('bad', () => {
        throw new Error('not today')
      })
      a.on('bad', (state) => void (state.n += 100))
      a.mutate((state) => void (state.m = 1))
      a.emit('bad')
      a.emit('add', 1)
      a.mutate((state) => void (state.m += 1))
      expect(a.state).deep.include({ n: 101, m: 2 })
      expect(a.send()).length(4)
      expect(a.take().map(({ outcome }) => outcome)).deep.equal(['committed', 'refused', 'dropped', 'dropped'])
      a.hear()
      expect(a.state).deep.include({ n: 1, m: 2 })
      const [refusal] = a.refused
      expect(refusal).include({ seq: 2, event: 'bad' })
      expect(refusal?.error).include({ code: 'handler-failed', message: 'not today', remote: true })
      expect(seqs(a.send())).deep.equal([
        [3, 1],
        [4, 3],
      ])
      a.take()
      a.hear()
      expect([a.replica.pending, host.state.n, host.state.m]).deep.equal([0, 1, 2])
    })

    it('give the patch back with a mutate', () => {
      const { a } = world()
      a.mutate(increment)
      a.send()
      a.up = []
      a.tell({ command: 'refused', payload: { seq: 1, version: 0, code: 'not-allowed', message: 'no' } })
      a.hear()
      expect(a.refused[0]?.patch).deep.equal([{ op: 'replace', path: '/n', value: 1 }])
      expect(a.state).deep.equal(initial())
    })

    it('of what is gone already do nothing', () => {
      const { a } = world()
      a.emit('add', 1)
      a.settle()
      a.tell({ command: 'refused', payload: { seq: 1, version: 1, code: 'not-allowed', message: 'no' } })
      a.hear()
      expect([a.codes, a.state.n]).deep.equal([[], 1])
    })

    it('that a cut took away cost nothing: the change is judged anew', () => {
      const { host, a, b } = world()
      a.mutate(increment)
      a.send()
      b.mutate(increment)
      b.settle()
      expect(a.take()[0]?.outcome).equal('refused')
      a.link()
      expect(a.state.n).equal(2)
      a.settle()
      expect([host.state.n, a.codes]).deep.equal([2, []])
    })

    it('settle a mutate unsent whose re-run changes nothing', () => {
      const { host, a, b } = world()
      a.mutate((state) => ({ ...state, title: 'same' }))
      a.mutate((state) => ({ ...state, m: 1 }))
      a.send()
      b.mutate((state) => ({ ...state, title: 'same' }))
      b.settle()
      a.take()
      a.hear()
      expect(a.replica.pending).equal(1)
      expect(seqs(a.send())).deep.equal([[2, 0]])
      a.take()
      a.hear()
      expect([host.authority.version, a.replica.settledSeq, a.codes]).deep.equal([2, 2, []])
    })

    it('drop a mutate that throws when it is run again: mutator-failed', () => {
      const { a, b } = world()
      const fault = new NamedMasterError('not-allowed', 'taken')
      a.mutate((state) => {
        if (state.title !== undefined) throw fault
        return { ...state, title: 'mine' }
      })
      a.mutate((state) => ({ ...state, m: 1 }))
      a.send()
      b.mutate((state) => ({ ...state, title: 'theirs' }))
      b.settle()
      a.take()
      a.hear()
      expect(a.codes).deep.equal(['mutator-failed'])
      expect(a.refused[0]?.error).include({ message: 'taken', cause: fault })
      a.settle()
      expect(a.state).deep.include({ title: 'theirs', m: 1 })
    })

    it('come after at most four conflicts: the fifth attempt is let through', () => {
      const { host, a, b } = world()
      let attempts = 0
      a.mutate((state) => {
        attempts++
        return increment(state)
      })
      let held = false
      while (a.replica.pending > 0) {
        a.send()
        if (!held) b.mutate(increment)
        b.send()
        const [outcome] = b.take()
        held = outcome?.outcome === 'held'
        b.hear()
        a.take()
        a.hear()
        expect(attempts).below(30)
      }
      expect(held).equal(true)
      expect(host.state.n).equal(5)
    })
  })

  describe('showing', () => {
    it('runs again at home what a commit conflicts with, and all that follows, while sending waits for the refusal', () => {
      const { host, a, b } = world()
      a.mutate((state) => ({ ...state, title: `${state.n}` }))
      a.mutate(increment)
      a.mutate((state) => ({ ...state, m: state.n * 10 }))
      a.send()
      b.mutate((state) => ({ ...state, n: 5 }))
      b.settle()
      a.hear()
      expect(a.state, 'the first holds: it keeps its patch').deep.equal({ ...initial(), title: '0', n: 6, m: 60 })
      expect(a.send()).deep.equal([])
      expect(a.take().map(({ outcome }) => outcome)).deep.equal(['committed', 'refused', 'dropped'])
      a.hear()
      a.settle()
      expect(host.state).deep.equal({ ...initial(), title: '0', n: 6, m: 60 })
    })

    it('keeps the patch of a sent mutate that nothing conflicts with', () => {
      const { host, a, b } = world()
      let runs = 0
      a.mutate((state) => {
        runs++
        return { ...state, m: state.n + 1 }
      })
      a.send()
      b.emit('add', 5)
      b.settle()
      a.hear()
      expect([a.state.m, runs]).deep.equal([1, 1])
      a.settle()
      expect([host.state.m, runs]).deep.equal([1, 1])
    })

    it('only removes what throws there', () => {
      const { host, a, b } = world()
      a.mutate((state) => {
        if (state.title === 'theirs') throw new Error('only here')
        return { ...state, title: 'mine' }
      })
      a.send()
      b.mutate((state) => ({ ...state, title: 'theirs' }))
      b.settle()
      a.hear()
      expect([a.state.title, a.codes, a.replica.pending]).deep.equal(['theirs', [], 1])
      expect(host.state.title).equal('theirs')
    })
  })

  describe('guesses', () => {
    it('make a mutate wait that writes what an own unanswered emit predicted, with everything after it', () => {
      const { host, a } = world()
      host.store.on('set', (state) => void (state.m = 50))
      a.on('set', (state) => void (state.m = 5))
      a.emit('set')
      a.mutate((state) => void (state.m += 1))
      a.emit('add', 1)
      expect(a.state).deep.include({ m: 6, n: 1 })
      expect(seqs(a.send())).deep.equal([[1, 0]])
      a.take()
      a.hear()
      expect(a.state, 'run again on the truth').deep.include({ m: 51, n: 1 })
      expect(seqs(a.send())).deep.equal([
        [2, 1],
        [3, 2],
      ])
      a.take()
      a.hear()
      expect([host.state.m, host.state.n, a.replica.pending]).deep.equal([51, 1, 0])
    })

    it('let it go with the emit’s answer also when that was guessed rightly', () => {
      const { host, a } = world()
      a.emit('add', 1)
      a.mutate(increment)
      expect(a.send()).length(1)
      a.take()
      a.hear()
      const [sent] = a.send()
      expect(sent).deep.include({ seq: 2, prev: 1, base: 1 })
      a.take()
      a.hear()
      expect(host.state.n).equal(2)
    })

    it('do not keep a mutate of other paths', () => {
      const { a } = world()
      a.emit('add', 1)
      a.mutate((state) => void (state.m = 1))
      expect(a.send()).length(2)
    })

    it('let appends pass each other', () => {
      const { host, a } = world()
      const push = ({ list }: State): void => void list.push('by event')
      host.store.on('push', push)
      a.on('push', push)
      a.emit('push')
      a.mutate(({ list }) => void list.push('by mutate'))
      expect(a.send()).length(2)
      a.settle()
      expect(host.state.list).deep.equal(['by event', 'by mutate'])
    })

    it('settle nothing: a mutate that a guess made empty waits for the truth', () => {
      const { host, a, b } = world()
      host.store.on('label', (state) => void (state.title = 'truth'))
      a.on('label', (state) => void (state.title = state.n === 0 ? 'guess' : 'mine'))
      a.emit('label')
      a.mutate((state) => ({ ...state, title: 'mine' }))
      a.send()
      b.emit('add', 1)
      b.settle()
      a.hear()
      expect(a.state.title).equal('mine')
      expect(a.send()).deep.equal([])
      a.settle()
      expect([host.state.title, a.state.title]).deep.equal(['mine', 'mine'])
    })
  })

  describe('a change that cannot be sent', () => {
    it('leaves, the program is told, and what follows it is sent', () => {
      const { host, a } = world()
      a.mutate((state) => ({ ...state, title: 'too large' }))
      a.emit('add', 1)
      a.mutate((state) => ({ ...state, m: 1 }))
      a.replica.sendable()
      a.replica.reject(1, new NamedMasterError('too-large', 'too large'))
      expect([a.codes, a.state]).deep.equal([['too-large'], { ...initial(), n: 1, m: 1 }])
      expect(seqs(a.send())).deep.equal([
        [2, 0],
        [3, 2],
      ])
      a.settle()
      expect(host.state).deep.include({ n: 1, m: 1 })
    })

    it('and all that is not answered can be given back', () => {
      const { a } = world()
      a.emit('add', 1)
      a.mutate((state) => ({ ...state, m: 1 }))
      const settled: number[] = []
      a.replica.events.on('settled', (seq) => settled.push(seq))
      a.replica.abandon(new NamedMasterError('closed', 'gone'))
      expect([a.codes, a.state, settled]).deep.equal([['closed', 'closed'], initial(), [2]])
    })
  })

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
      expect(events, 'only what came after the snapshot').deep.equal(['add'])
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
