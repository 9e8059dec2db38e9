import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { Outbox } from '#src/slave/outbox.js'
import { ADDRESS, Disk, Life, type MasterSide } from '../suites/lives.js'
import { ManualClock } from 'named-master/testing'
import { failure, thrownBy } from '../suites/setting.js'
import { sessionsOf } from '../suites/slaves.js'

interface State {
  n: number
  title?: string
  list: string[]
}

describe('the outbox', () => {
  let clock: ManualClock
  let disk: Disk
  let master: MasterSide
  beforeEach(async () => {
    clock = new ManualClock()
    disk = await Disk.create()
    master = serve()
  })

  const serve = (state: State = { n: 0, list: [] }): MasterSide => {
    const served = sessionsOf(state, clock)
    served.store.on('add', (state, by: number) => void ((state as State).n += by))
    served.store.on('push', (state, token: string) => void (state as State).list.push(token))
    served.store.on('fail', () => {
      throw new Error('no')
    })
    return served
  }
  const begin = (): Promise<Life> => Life.begin(disk, clock)
  const joined = async (at = master): Promise<Life> => {
    const life = await begin()
    await life.link(at)
    return life
  }
  const state = (at = master): State => at.store.getState() as State
  const changesSent = (life: Life): string[] =>
    life.sent.map(({ command }) => command).filter((command) => command !== 'hello')

  it('keeps a secret and its seqs: the client is the same in its next life', async () => {
    const first = await joined()
    first.emit('add', 1)
    await first.session.settled()
    first.kill()
    const second = await joined()
    expect(second.session.replica.client).to.equal(first.session.replica.client)
    second.emit('add', 1)
    await second.session.settled()
    expect(second.sent.at(-1)?.payload).to.include({ seq: 2, prev: 1 })
    expect(state().n).to.equal(2)
  })

  it('sends nothing that is not written, and writes what a turn made in one batch', async () => {
    const life = await joined()
    disk.hold()
    const before = disk.written.length
    for (let i = 0; i < 5; i++) life.emit('add', 1)
    await disk.asked()
    // Later ones wait for the next batch.
    for (let i = 0; i < 7; i++) life.mutate<State>((s) => ({ ...s, list: [...s.list, 'x'] }))
    await clock.advance(0)
    expect([changesSent(life), life.session.replica.value]).to.deep.equal([[], { n: 0, list: Array(7).fill('x') }])
    disk.release()
    await life.session.settled()
    expect(state()).to.deep.equal({ n: 5, list: Array(7).fill('x') })
    const made = disk.written
      .slice(before)
      .map((writes) => writes.filter(({ value }) => value !== undefined).length - 1)
    expect(made.filter((count) => count > 0)).to.deep.equal([5, 7])
    expect(await disk.changes()).to.deep.equal([])
  })

  it('sends in its next life what did not leave in this one', async () => {
    const life = await joined()
    life.cut()
    life.emit('add', 3)
    life.mutate<State>((s) => ({ ...s, title: 'offline' }))
    await life.kept()
    life.kill()
    const next = await joined()
    expect(next.session.replica.value).to.include({ title: 'offline' })
    await next.session.settled()
    expect(state()).to.deep.equal({ n: 3, list: [], title: 'offline' })
    expect(await disk.changes()).to.deep.equal([])
  })

  it('applies nothing twice that was committed, and whose answer was lost', async () => {
    const life = await joined()
    life.emit('add', 3)
    life.mutate<State>((s) => ({ ...s, title: 'once' }))
    master.store.subscribe(() => state().title === 'once' && life.kill())
    await new Promise<void>((resolve) => void master.store.subscribe(() => state().title === 'once' && resolve()))
    expect(await disk.changes()).to.have.length(2)
    const next = await joined()
    await next.session.settled()
    expect(state()).to.deep.equal({ n: 3, list: [], title: 'once' })
    expect(changesSent(next)).to.deep.equal([])
  })

  it('tells an outcome when the change is deleted, and not before', async () => {
    const life = await joined()
    life.emit('fail')
    life.emit('add', 1)
    await life.kept()
    disk.hold()
    const outcome = failure(life.session.settled())
    await disk.asked()
    await clock.advance(0)
    expect([life.session.replica.pending, life.codes, life.session.idle]).to.deep.equal([0, [], false])
    disk.release()
    expect((await outcome).code).to.equal('handler-failed')
    expect([life.codes, await disk.changes()]).to.deep.equal([['handler-failed'], []])
  })

  it('does not send a refused change again', async () => {
    const life = await joined()
    life.emit('fail')
    await failure(life.session.settled())
    life.kill()
    const next = await joined()
    await next.session.settled()
    expect([changesSent(next), next.codes]).to.deep.equal([[], []])
  })

  it('takes no change before the first state, also while restored ones wait', async () => {
    const life = await joined()
    life.cut()
    life.emit('add', 1)
    await life.kept()
    life.kill()
    const next = await begin()
    expect(next.session.replica.pending).to.equal(1)
    expect(thrownBy(() => next.emit('add', 1)).code).to.equal('not-connected')
    expect(thrownBy(() => next.mutate(() => ({}))).code).to.equal('not-connected')
    expect((await failure(next.session.settled())).code).to.equal('not-connected')
  })

  it('asks the program about what a master may have taken that forgot us, and sends the rest', async () => {
    const life = await joined()
    life.emit('add', 1)
    await life.kept()
    life.cut()
    life.emit('add', 10)
    life.mutate<State>((s) => ({ ...s, title: 'mine' }))
    await life.kept()
    life.kill()
    const other = serve()
    const next = await joined(other)
    await failure(next.session.settled())
    expect(next.refused.map(({ seq, event, error }) => [seq, event, error.code])).to.deep.equal([
      [1, 'add', 'unknown-outcome'],
    ])
    expect(state(other)).to.deep.equal({ n: 10, list: [], title: 'mine' })
  })

  it('is known to its master by what it heard in its earlier life, also before anything was committed', async () => {
    const life = await joined()
    life.emit('add', 1)
    await life.kept()
    life.kill()
    expect(state().n, 'nothing has come').to.equal(0)
    const next = await joined()
    await next.session.settled()
    expect([state().n, next.codes]).to.deep.equal([1, []])
  })

  it('marks what was made offline before it leaves', async () => {
    const life = await joined()
    life.cut()
    life.emit('add', 10)
    await life.kept()
    disk.hold()
    const asked = disk.asked()
    await life.link(master)
    await asked
    await clock.advance(0)
    expect(changesSent(life)).to.deep.equal([])
    disk.release()
    await life.session.settled()
    expect(state().n).to.equal(10)
  })

  it('uses greater seqs than its master has seen, also when a power cut took the latest from it', async () => {
    const life = await joined()
    const copy = await Disk.create()
    life.emit('add', 1)
    await life.session.settled()
    const { storage } = copy.open()
    const client = { secret: life.outbox.secret, highest: 0, left: 0 }
    await storage.table('clients').put(`${ADDRESS.nameServer} ${ADDRESS.name}`, client, { sync: false })
    life.kill()
    const next = await Life.begin(copy, clock)
    await next.link(master)
    next.emit('add', 1)
    await next.session.settled()
    expect(state().n).to.equal(2)
  })

  describe('a mutate that has lost its function', () => {
    /** Makes these offline, and dies. */
    const leave = async (...mutators: ((state: State) => unknown)[]): Promise<void> => {
      const life = await joined()
      life.cut()
      for (const mutator of mutators) life.mutate(mutator)
      await life.kept()
      life.kill()
    }

    it('is refused with its patch when others changed what it writes; what does not meet is committed', async () => {
      await leave(
        (s) => ({ ...s, n: s.n + 1 }),
        (s) => ({ ...s, title: 'mine' }),
        (s) => ({ ...s, n: s.n + 1 }),
      )
      master.store.mutate((s) => ({ ...(s as State), n: 5 }))
      const next = await joined()
      expect((await failure(next.session.settled())).code).to.equal('conflict-not-repeatable')
      expect(next.refused.map(({ patch, error }) => [patch, error.code])).to.deep.equal([
        [[{ op: 'replace', path: '/n', value: 1 }], 'conflict-not-repeatable'],
        [[{ op: 'replace', path: '/n', value: 2 }], 'conflict-not-repeatable'],
      ])
      expect(state()).to.deep.equal({ n: 5, list: [], title: 'mine' })
    })

    it('holds on another life of the master, where nobody changed what it writes', async () => {
      await leave(
        (s) => ({ ...s, n: s.n + 1 }),
        (s) => ({ ...s, n: s.n + 1, list: [...s.list, 'a'] }),
      )
      const other = serve({ n: 0, list: ['of others'] })
      const next = await joined(other)
      await next.session.settled()
      expect(state(other)).to.deep.equal({ n: 2, list: ['of others', 'a'] })
    })

    it('is refused when somebody is faster on the way', async () => {
      await leave((s) => ({ ...s, n: s.n + 1 }))
      const next = await begin()
      disk.hold()
      const asked = disk.asked()
      await next.link(master)
      await asked
      master.store.mutate((s) => ({ ...(s as State), n: 7 }))
      disk.release()
      expect((await failure(next.session.settled())).code).to.equal('conflict-not-repeatable')
      expect(state().n).to.equal(7)
    })

    it('that was made on an emit waits for its answer', async () => {
      const life = await joined()
      life.on<State>('add', (s, by: number) => void (s.n += by))
      life.cut()
      life.emit('add', 3)
      life.mutate<State>((s) => ({ ...s, n: s.n * 2 }))
      expect(life.session.replica.value).to.include({ n: 6 })
      await life.kept()
      life.kill()
      // Without the handler that predicted it.
      const next = await joined()
      await next.session.settled()
      expect(state().n).to.equal(6)
    })
  })

  describe('that cannot be written', () => {
    it('takes no more changes, loses none, and goes on by itself', async () => {
      const life = await joined()
      life.emit('add', 1)
      await life.session.settled()
      disk.full = true
      life.emit('add', 10)
      await disk.asked()
      await clock.advance(0)
      expect(thrownBy(() => life.emit('add', 100)).code).to.equal('storage-full')
      expect(thrownBy(() => life.mutate(() => ({}))).code).to.equal('storage-full')
      expect([state().n, changesSent(life).length]).to.deep.equal([1, 1])
      disk.full = false
      const settled = life.session.settled()
      await clock.advance(1000)
      await settled
      life.emit('add', 100)
      await life.session.settled()
      expect(state().n).to.equal(111)
    })

    it('closes nevertheless', async () => {
      const life = await joined()
      disk.full = true
      life.emit('add', 10)
      await disk.asked()
      await clock.advance(0)
      await life.outbox.close()
      expect(thrownBy(() => life.emit('add', 1)).code).to.equal('not-connected')
      life.kill()
    })
  })

  it('is written when it is closed', async () => {
    const life = await joined()
    life.cut()
    disk.hold()
    life.emit('add', 1)
    await disk.asked()
    const closed = life.outbox.close()
    await clock.advance(0)
    disk.release()
    await closed
    expect(await disk.changes()).to.have.length(1)
  })

  it('is bounded in characters', async () => {
    const life = await joined()
    life.cut()
    const mebibyte = 'x'.repeat(1024 * 1024)
    for (let i = 0; i < 32; i++) life.emit('push', mebibyte)
    expect(thrownBy(() => life.emit('push', 'x')).code).to.equal('outbox-full')
    expect(thrownBy(() => life.mutate<State>((s) => ({ ...s, n: 1 }))).code).to.equal('outbox-full')
    life.session.abandon(new NamedMasterError('closed', 'All of it is given back'))
    life.emit('push', 'x')
  })

  it('keeps names apart', async () => {
    const life = await joined()
    life.cut()
    life.emit('add', 1)
    await life.kept()
    life.kill()
    const elsewhere = await Life.begin(disk, clock, { ...ADDRESS, name: 'garage.two' })
    expect(elsewhere.session.replica.pending).to.equal(0)
    expect(elsewhere.outbox.secret).to.not.equal(life.outbox.secret)
    const { storage } = disk.open()
    expect(await Outbox.waits(storage, ADDRESS)).to.equal(true)
    expect(await Outbox.waits(storage, { ...ADDRESS, name: 'garage.two' })).to.equal(false)
    expect(await Outbox.used(storage)).to.equal(true)
  })

  it('says so when it cannot be read', async () => {
    const { storage } = disk.open()
    const failing = { ...storage, table: () => ({ get: () => Promise.reject(new Error('io')) }) as never }
    const error = await failure(Outbox.open(failing, ADDRESS, { clock, log: () => undefined }))
    expect(error).to.be.instanceOf(NamedMasterError).with.property('code', 'storage-failed')
  })
})
