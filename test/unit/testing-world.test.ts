import { expect } from 'chai'
import { createStore } from 'named-master/store'
import { createWorld, type World, type WorldOptions } from 'named-master/testing'

interface State {
  readonly count: number
  readonly names: readonly string[]
}

/** A program's own store. */
function counter() {
  const store = createStore<State>({ count: 0, names: [] })
  store.on('add', (state, by: number) => ({ ...state, count: state.count + by }))
  return store
}

const code = (error: unknown): string => (error as { code: string }).code

describe('a world in memory', () => {
  let world: World<State>
  const make = async (options: WorldOptions<State> = {}): Promise<World<State>> =>
    (world = await createWorld<State>({ slaves: 2, store: counter, ...options }))

  afterEach(async () => {
    await world.close()
    expect(world.clock.timers, 'timers that are left').to.equal(0)
  })

  it('has slaves that are stores', async () => {
    const { master, slaves } = await make({ latency: 20 })
    const [one, other] = slaves
    one?.on('add', (state, by: number) => ({ ...state, count: state.count + by }))
    one?.emit('add', 2)
    expect([one?.getState().count, other?.getState().count]).to.deep.equal([2, 0])
    other?.mutate((state) => ({ ...state, names: ['other'] }))
    await world.settle()
    for (const store of [master.store, ...slaves])
      expect(store.getState()).to.deep.equal({ count: 2, names: ['other'] })
  })

  it('takes the time that its links take', async () => {
    const { master, slaves } = await make({ slaves: [100, 10] })
    slaves[0]?.emit('add', 1)
    await world.advance(99)
    expect(master.store.getState().count).to.equal(0)
    await world.advance(1)
    expect(master.store.getState().count).to.equal(1)
    await world.advance(10)
    expect(slaves[1]?.getState().count).to.equal(1)
  })

  it('answers calls while the time passes', async () => {
    const { master, slaves } = await make({ latency: 50 })
    master.expose('sum', ({ a, b }: { a: number; b: number }) => a + b)
    expect(await world.until(slaves[0]!.call('sum', { a: 1, b: 2 }))).to.equal(3)
    const missing = world.until(slaves[0]!.call('none'))
    expect(await missing.catch(code)).to.equal('no-such-method')
  })

  it('keeps what a slave does while it is away', async () => {
    const { master, slaves } = await make()
    const [one, other] = slaves
    one?.leave()
    one?.emit('add', 1)
    other?.emit('add', 2)
    await world.advance(1000)
    expect([one?.status, one?.pending, master.slaves.length]).to.deep.equal(['disconnected', 1, 1])
    expect(master.store.getState().count).to.equal(2)
    one?.comeBack()
    await world.settle()
    expect(one?.getState().count).to.equal(3)
  })

  it('comes back after a cut by itself', async () => {
    const { slaves } = await make({ latency: 10 })
    const [one] = slaves
    const told: string[] = []
    one?.events.on('resumed', () => told.push('resumed'))
    one?.emit('add', 1)
    one?.cut()
    expect(one?.status).to.equal('reconnecting')
    await world.advance(100)
    expect([one?.status, one?.pending, ...told]).to.deep.equal(['connected', 0, 'resumed'])
  })

  it('has a master that dies and begins again with what it had written', async () => {
    const { master, slaves } = await make()
    master.expose('sum', () => 3)
    slaves[0]?.emit('add', 5)
    await world.settle()
    const before = master.store
    master.kill()
    expect(master.alive).to.equal(false)
    expect(() => master.store)
      .to.throw()
      .with.property('code', 'stopped')
    slaves[1]?.emit('add', 1)
    await world.advance(1000)
    expect(slaves[1]?.status).to.equal('reconnecting')
    await master.restart()
    expect(master.store).to.not.equal(before)
    expect(master.store.getState().count).to.equal(5)
    await world.settle()
    expect(slaves[0]?.getState().count).to.equal(6)
    expect(await world.until(slaves[0]!.call('sum'))).to.equal(3)
  })

  it('stops in order, and starts again', async () => {
    const { master, slaves } = await make({ latency: 10, disk: { latency: 5 } })
    master.store.emit('add', 1)
    await master.stop()
    await world.advance(10)
    expect([master.alive, slaves[0]?.status]).to.deep.equal([false, 'reconnecting'])
    await master.restart()
    expect(master.store.getState().count).to.equal(1)
    await master.restart()
    await world.settle()
    expect(slaves[0]?.getState().count).to.equal(1)
  })

  it('has a master that can die while it begins, and that cannot begin while the disk fails', async () => {
    const { master, slaves } = await make({ disk: { latency: 10 } })
    slaves[0]?.emit('add', 1)
    await world.settle()
    master.kill()
    world.clock.setTimeout(() => master.kill(), 5)
    expect(await master.restart().catch(code)).to.equal('stopped')
    world.disk.fail()
    expect(await master.restart().catch(code)).to.equal('storage-failed')
    expect(master.alive).to.equal(false)
    world.disk.heal()
    await master.restart()
    expect(master.store.getState().count).to.equal(1)
  })

  it('has slaves that move to another link', async () => {
    const { master, slaves } = await make({ latency: 10 })
    const [one] = slaves
    slaves[1]?.leave()
    one?.emit('add', 1)
    one?.move()
    await world.advance(100)
    expect([one?.status, one?.pending, master.slaves.length]).to.deep.equal(['connected', 0, 1])
    expect(master.store.getState().count).to.equal(1)
  })

  it('says what does not come to rest, and the seed', async () => {
    await make({ seed: 42, slaves: 1 })
    world.master.expose('never', () => new Promise(() => undefined))
    const never = world.slaves[0]!.call('never', undefined, { timeout: 120_000 }).catch(code)
    const sentence = await world.settle().catch(String)
    expect(sentence).to.equal('Error: The world of seed 42 does not come to rest: slave 0 has unanswered calls: 1')
    const late = await world.until(new Promise(() => undefined), 10).catch(String)
    expect(late).to.equal('Error: What was waited for in the world of seed 42 did not end within 10 ms')
    await world.close()
    expect(await never).to.equal('closed')
  })

  it('says so when a slave shows another state', async () => {
    await make({
      slaves: 1,
      tamper: {
        down: (message) => {
          if (message.command !== 'commit') return message
          return { ...message, payload: { ...message.payload, patch: [{ op: 'replace', path: '/count', value: 7 }] } }
        },
      },
    })
    world.master.store.emit('add', 1)
    expect(await world.settle().catch(String)).to.match(/slave 0 shows another state than the master$/)
  })

  it('does the same each time', async () => {
    const lives: unknown[] = []
    for (const seed of [5, 5, 6]) {
      if (lives.length > 0) await world.close()
      await make({ seed, latency: 10, jitter: 20, loss: 0.05, rate: 100_000, durability: 'disk', disk: { latency: 3 } })
      const heard: string[] = []
      for (const slave of world.slaves) {
        slave.subscribe(({ version }) => heard.push(`${version} at ${world.clock.now()}`))
        slave.events.on('resumed', () => heard.push(`resumed at ${world.clock.now()}`))
      }
      for (let i = 0; i < 50; i++) {
        world.slaves[i % 2]?.emit('add', 1)
        await world.advance(5)
      }
      await world.settle()
      expect(world.master.store.getState().count).to.equal(50)
      lives.push(heard)
    }
    expect(lives[1]).to.deep.equal(lives[0])
    expect(lives[2]).to.not.deep.equal(lives[0])
    expect(String(lives)).to.include('resumed')
  })

  it('refuses what makes no world', async () => {
    await make()
    expect(await createWorld({}).catch(String)).to.match(/^TypeError/)
    expect(await createWorld({ store: () => ({}) as never }).catch(String)).to.match(/^TypeError/)
  })
})
