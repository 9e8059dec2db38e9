/** Many masters with the key of one name: one has it in the end, and none of the others fights for it. */
import { expect } from 'chai'
import { createStore, type Master, type MasterStatus } from 'named-master'
import { newSecret } from '#src/signal/secret.js'
import { report } from '../suites/faults.js'
import { hears, Setting, shows } from '../suites/setting.js'
import { SocketProxy } from '../suites/socket-proxy.js'

const RACERS = 32
const NAME = 'garage'

interface State {
  readonly at: number
  readonly n: number
}

describe('claims to one name', function () {
  this.timeout(60_000)
  const key = newSecret()
  let setting: Setting

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(() => setting.close())

  /** A master that writes down what becomes of it. */
  function contender(at: number, url?: string): { at: number; master: Master; told: (MasterStatus | 'ousted')[] } {
    const master = setting.master(createStore<State>({ at, n: 0 }), { key }, url)
    const told: (MasterStatus | 'ousted')[] = []
    master.events.on('status', (status) => told.push(status))
    master.events.on('evicted', () => told.push('ousted'))
    return { at, master, told }
  }

  async function proxied(): Promise<SocketProxy> {
    const proxy = await SocketProxy.open(setting.url)
    setting.onClose(() => proxy.close())
    return proxy
  }

  it(`of ${RACERS} that take it at once one has it, all others are evicted once, and the slave ends at the winner`, async () => {
    const data = await setting.folder()
    setting.nameServer = await setting.serveNames({ data })
    const first = contender(-1)
    await first.master.startServer(NAME)
    const slave = await setting.connected<State>(NAME)
    const partings: unknown[] = []
    slave.events.on('status', (status) => status === 'reconnecting' && partings.push(slave.lastError?.code))
    const racers = Array.from({ length: RACERS }, (_, at) => contender(at))
    const all = [first, ...racers]
    const ousted = new Promise<void>((resolve) => {
      let left = all.length - 1
      for (const { master } of all) master.events.on('evicted', () => --left === 0 && resolve())
    })
    const answers = await Promise.all(racers.map(({ master }) => master.startServer(NAME)))
    expect(new Set(answers)).to.deep.equal(new Set(['started']))
    await ousted
    const standing = all.filter(({ master }) => master.status === 'started')
    expect(standing).to.have.length(1)
    const [winner] = standing as [(typeof all)[number]]
    await shows(slave, ({ at }) => at === winner.at)
    expect(new Set(partings), 'why the slave lost each link').to.deep.equal(new Set(['moved']))

    // Long enough for whoever would fight: every socket is lost and comes back.
    const port = Number(new URL(setting.url).port)
    const reconnecting = hears(winner.master.events, 'status', (status) => status === 'reconnecting')
    await setting.nameServer.close()
    await reconnecting
    const renewed = hears(winner.master.events, 'status', (status) => status === 'started')
    setting.nameServer = await setting.serveNames({ port, data })
    await renewed
    expect((await setting.connected<State>(NAME)).getState().at).to.equal(winner.at)
    slave.mutate((state) => ({ ...state, n: 1 }))
    await slave.settled()
    for (const { at, master, told } of all) {
      if (at === winner.at) {
        expect(told).to.deep.equal(['starting', 'started', 'reconnecting', 'started'])
        continue
      }
      expect(master.status).to.equal('evicted')
      expect(master.slaves).to.have.length(0)
      // Evicted in the very turn in which it was answered, it never was `started`.
      expect(told.filter((one) => one !== 'started')).to.deep.equal(['starting', 'evicted', 'ousted'])
    }
    report(`${RACERS} racing takeovers`, {
      standing: standing.length,
      'evicted once': all.length - 1,
      "the slave's moves": partings.length,
    })
  })

  it('a lost socket renews the claim, however often, and nobody is evicted', async () => {
    const proxy = await proxied()
    const { master, told } = contender(1, proxy.url)
    await master.startServer(NAME)
    const slave = await setting.connected<State>(NAME)
    for (let i = 0; i < 3; i++) {
      const renewed = hears(master.events, 'status', (status) => status === 'started')
      proxy.sever()
      await renewed
    }
    expect(told).to.deep.equal(
      ['starting', ...Array.from({ length: 4 }, () => 'started')].flatMap((one, i) =>
        i > 1 ? ['reconnecting', one] : [one],
      ),
    )
    expect(slave.status).to.equal('connected')
    expect((await setting.connected<State>(NAME)).getState().at).to.equal(1)
  })

  it('a master that was cut off while another took its name learns so when it is back, and sends its slaves there', async () => {
    const proxy = await proxied()
    const old = contender(1, proxy.url)
    await old.master.startServer(NAME)
    const slave = await setting.connected<State>(NAME)
    const away = hears(old.master.events, 'status', (status) => status === 'reconnecting')
    proxy.cut = () => true
    proxy.sever()
    await away
    const heir = contender(2)
    expect(await heir.master.startServer(NAME)).to.equal('started')
    // It goes on with those it has: nobody told them anything else.
    slave.mutate((state) => ({ ...state, n: 5 }))
    await slave.settled()
    expect(slave.getState()).to.deep.equal({ at: 1, n: 5 })
    const lost = hears(slave.events, 'status', (status) => status === 'reconnecting')
    const reset = hears(slave.events, 'reset')
    const evicted = hears(old.master.events, 'evicted')
    proxy.cut = () => false
    expect(await evicted).to.deep.equal([NAME])
    await lost
    expect(slave.lastError).to.include({ code: 'moved', remote: true })
    await reset
    expect(slave.getState()).to.deep.equal({ at: 2, n: 0 })
    expect(old.told).to.deep.equal(['starting', 'started', 'reconnecting', 'evicted', 'ousted'])
    expect(heir.told).to.deep.equal(['starting', 'started'])
    expect(old.master.slaves).to.have.length(0)
  })

  it('an evicted master has the name again when its program says so, and not before', async () => {
    const old = contender(1)
    await old.master.startServer(NAME)
    const heir = contender(2)
    const evicted = hears(old.master.events, 'evicted')
    await heir.master.startServer(NAME)
    await evicted
    const ousted = hears(heir.master.events, 'evicted')
    expect(await old.master.startServer(NAME)).to.equal('started')
    await ousted
    expect((await setting.connected<State>(NAME)).getState().at).to.equal(1)
  })
})
