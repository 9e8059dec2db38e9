import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { increment, initial, seqs, world, type State } from '../suites/counters.js'

describe('replica, where the master decides otherwise', () => {
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
})
