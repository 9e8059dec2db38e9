/** A persistent outbox in a folder: whose it is, what comes out of it, and processes that are killed. */
import { expect } from 'chai'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Slave, type Microstore } from 'named-master'
import type { Told } from '../suites/outbox-slave.js'
import { failure, hears, Setting, shows, thrownBy } from '../suites/setting.js'

interface State {
  readonly n: number
}

const PROGRAM = fileURLToPath(new URL('../suites/outbox-slave.js', import.meta.url))
/** Each takes a second. */
const KILLS = 8

describe('a persistent outbox', function () {
  this.timeout(60_000)
  let setting: Setting
  let data: string
  beforeEach(async () => {
    setting = await new Setting().open()
    data = await setting.folder()
  })
  afterEach(() => setting.close())

  const slave = (folder = data): Slave<State> => setting.slave<State>({ outbox: 'persistent', data: folder })
  const counting = async (name: string) => {
    const served = await setting.serve<State>(name, { n: 0 })
    served.store.on('add', (state, by: number) => ({ n: state.n + by }))
    return served
  }

  it('wants a folder, and says what else it takes', () => {
    expect(() => new Slave(setting.url, { outbox: 'persistent' })).to.throw(TypeError, 'folder')
    expect(() => new Slave(setting.url, { outbox: 'disk' as 'memory' })).to.throw(TypeError, "'memory' or 'persistent'")
  })

  it('is held by one slave at a time, who lets go of it', async () => {
    await counting('garage')
    const [one, two] = [slave(), slave()]
    expect(await one.connect('garage')).to.equal(true)
    const error = await failure(two.connect('garage'))
    expect([error.code, two.status]).to.deep.equal(['storage-locked', 'disconnected'])
    await one.disconnect()
    expect(await two.connect('garage')).to.equal(true)
    await two.disconnect()
    expect(await one.connect('garage')).to.equal(true)
  })

  it('keeps what was changed while the master was away, through a connect that finds nobody', async () => {
    const { store, master } = await counting('garage')
    const before = slave()
    await before.connect('garage')
    const lost = hears(before.events, 'status', (status) => status === 'reconnecting')
    await master.stopServer()
    await lost
    before.emit('add', 2)
    before.mutate(({ n }) => ({ n }))
    await before.disconnect()
    expect(thrownBy(() => before.emit('add', 1)).code).to.equal('not-connected')

    const after = slave()
    expect([await after.connect('garage'), after.lastError?.code]).to.deep.equal([false, 'master-offline'])
    await master.startServer('garage')
    expect(await after.connect('garage')).to.equal(true)
    await after.settled()
    expect(store.getState()).to.deep.equal({ n: 2 })
  })

  it('keeps a name\u2019s changes while the slave is connected to another', async () => {
    const [garage, attic] = [await counting('garage'), await counting('attic')]
    const one = slave()
    await one.connect('garage')
    const lost = hears(one.events, 'status', (status) => status === 'reconnecting')
    await garage.master.stopServer()
    await lost
    one.emit('add', 1)
    await one.disconnect()
    expect(await one.connect('attic')).to.equal(true)
    one.emit('add', 10)
    await one.settled()
    await one.disconnect()
    await garage.master.startServer('garage')
    expect(await one.connect('garage')).to.equal(true)
    await one.settled()
    expect([garage.store.getState().n, attic.store.getState().n]).to.deep.equal([1, 10])
  })

  it('connects and disconnects in any order', async () => {
    await counting('garage')
    const one = slave()
    const both = Promise.all([one.connect('garage'), one.connect('garage')])
    const error = await one.connect('attic').catch((thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(TypeError)
    expect(await both).to.deep.equal([true, true])
    const connecting = slave(await setting.folder())
    const answer = connecting.connect('garage')
    expect([await connecting.disconnect(), await answer]).to.deep.equal([false, false])
    expect(await connecting.connect('garage')).to.equal(true)
  })

  describe('in processes that are killed', () => {
    let store: Microstore<readonly string[]>
    beforeEach(async () => {
      ;({ store } = await setting.serve<readonly string[]>('garage', []))
      store.on('push', (state, token: string) => [...state, token])
    })

    /** Kills it when it says, or the master sees, that it is time. Answers what it said was settled. */
    async function live(life: number, isTime: (told: Told | readonly string[]) => boolean): Promise<readonly string[]> {
      const child = fork(PROGRAM, [setting.url, 'garage', data, String(life)])
      const ended = once(child, 'exit')
      const settled: string[] = []
      const kill = (told: Told | readonly string[]): void => void (isTime(told) && child.kill('SIGKILL'))
      // Before the answer leaves: what listens to the store hears of a commit first.
      const off = store.subscribe(() => kill(store.getState()))
      child.on('message', (told: Told) => {
        if ('refused' in told) throw new Error(`A change was refused: ${told.refused}`)
        if ('settled' in told) settled.push(...told.settled)
        kill(told)
      })
      const [, signal] = (await ended) as [number | null, string | null]
      off()
      expect(signal).to.equal('SIGKILL')
      return settled
    }

    it('loses nothing that was settled, applies nothing twice, and keeps the order', async () => {
      const settled: string[] = []
      for (let life = 0; life < KILLS; life++) {
        const own = (token: string): boolean => token.startsWith(`${life}-`)
        const seen = 5 + 13 * life
        // By turns: as soon as they were made, and as soon as the master has some of them.
        const isTime = (told: Told | readonly string[]): boolean =>
          life % 2 === 0
            ? 'pushed' in told && Number(told.pushed.split('-')[1]) >= seen
            : 'filter' in told && told.filter(own).length >= seen
        settled.push(...(await live(life, isTime)))
      }
      const heir = setting.slave<readonly string[]>({ outbox: 'persistent', data })
      expect(await heir.connect('garage')).to.equal(true)
      await heir.settled()
      const tokens = await shows(heir, (shown) => shown.length === store.getState().length)
      expect(new Set(tokens).size, 'applied twice').to.equal(tokens.length)
      expect(
        settled.filter((token) => !tokens.includes(token)),
        'lost',
      ).to.deep.equal([])
      for (let life = 0; life < KILLS; life++) {
        const numbers = tokens
          .filter((token) => token.startsWith(`${life}-`))
          .map((token) => Number(token.split('-')[1]))
        expect(numbers, `life ${life}: in order, without a gap`).to.deep.equal(numbers.map((_, i) => i))
      }
    })
  })
})
