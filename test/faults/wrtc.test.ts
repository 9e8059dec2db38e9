/** The whole way over real connections, with links that are cut and a master that is killed while everybody works. */
import { expect } from 'chai'
import { fileURLToPath } from 'node:url'
import { createStore } from 'named-master'
import { chances } from 'named-master/testing'
import { long, report, seed } from '../suites/faults.js'
import { Program } from '../suites/programs.js'
import { cut, hears, recordingRtc, Setting, shows } from '../suites/setting.js'
import { Bookkeeper, count, discrepancies, startingState, type Counted } from '../suites/storekeepers.js'

const MASTER = fileURLToPath(new URL('../suites/real-master.js', import.meta.url))
const NAME = 'garage'
const SLAVES = 3
const CUTS = long(15, 200)
const KILLS = long(5, 50)
/** Changes that each slave makes before a fault, at most. */
const BURST = 8

describe(`faults over wrtc (seed ${seed})`, function () {
  this.timeout(60_000 + (CUTS + KILLS) * 5000)
  let setting: Setting
  let running: Program | undefined

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(async () => {
    await running?.end('SIGKILL')
    await setting.close()
  })

  async function book(name: string): Promise<{ keeper: Bookkeeper; peers: RTCPeerConnection[]; heard: string[] }> {
    const { rtc, peers } = await recordingRtc()
    const keeper = new Bookkeeper(name, setting.slave<Counted>({ rtc }))
    const heard: string[] = []
    keeper.slave.on('count', (_state, token: string, { phase }) => void (phase === 'commit' && heard.push(token)))
    expect(await keeper.slave.connect(NAME)).to.equal(true)
    return { keeper, peers, heard }
  }

  const books = () => Promise.all(Array.from({ length: SLAVES }, (_, i) => book(`s${i}`)))

  /** Everybody has everything, once. */
  async function examine(all: readonly Bookkeeper[], made: number): Promise<{ lost: number; twice: number }> {
    const witness = await setting.connected<Counted>(NAME)
    const state = await shows(witness, ({ tokens }) => Object.keys(tokens).length >= made)
    await Promise.all(all.map(({ slave }) => shows(slave, ({ tokens }) => Object.keys(tokens).length >= made)))
    expect(discrepancies(state, all)).to.deep.equal([])
    const times = Object.values(state.tokens)
    return { lost: made - times.length, twice: times.filter((n) => n > 1).length }
  }

  it(`loses nothing, repeats nothing and mixes up nothing when links are cut ${CUTS} times`, async () => {
    const chance = chances(seed)
    const store = createStore(startingState())
    store.on('count', count)
    await setting.master(store).startServer(NAME)
    const all = await books()
    const events: string[] = []
    store.on('count', (_state, token: string) => void events.push(token))
    let made = 0
    const work = (): void => {
      for (const { keeper } of all) made += keeper.make(1 + Math.floor(chance() * BURST)).length
    }
    for (let i = 0; i < CUTS; i++) {
      const { keeper, peers } = all[Math.floor(chance() * SLAVES)] as (typeof all)[number]
      const back = hears(keeper.slave.events, 'resumed')
      work()
      // Sometimes in the same turn, sometimes with changes on their way both ways.
      if (chance() < 0.7) await keeper.slave.settled()
      work()
      if (chance() < 0.5) await Promise.resolve()
      await cut(peers.at(-1))
      work()
      await back
    }
    await Promise.all(all.map(({ keeper }) => keeper.slave.settled()))
    const { lost, twice } = await examine(
      all.map(({ keeper }) => keeper),
      made,
    )
    // Each heard the others' events in the order of the commits, each once.
    const disorders = all.filter(({ keeper, heard }) => {
      const others = events.filter((token) => !token.startsWith(keeper.name))
      return JSON.stringify(others) !== JSON.stringify(heard)
    }).length
    report(`${CUTS} cuts over wrtc`, { made, lost, twice, 'out of order': disorders })
    expect({ lost, twice, disorders }).to.deep.equal({ lost: 0, twice: 0, disorders: 0 })
  })

  it(`loses nothing and repeats nothing when the master is killed ${KILLS} times`, async () => {
    const chance = chances(seed + 1)
    const data = await setting.folder()
    const recoveries: number[] = []
    const start = async (): Promise<void> => {
      running = new Program([MASTER, setting.url, data])
      const [, ms] = await running.prints(/serves after ([\d.]+) ms/)
      recoveries.push(Number(ms))
    }
    await start()
    const all = await books()
    let made = 0
    for (let i = 0; i < KILLS; i++) {
      const work = (): void => {
        for (const { keeper } of all) made += keeper.make(1 + Math.floor(chance() * BURST)).length
      }
      work()
      const [first] = all
      if (chance() < 0.7) await first?.keeper.slave.settled()
      work()
      if (chance() < 0.5) await first?.keeper.slave.settled()
      work()
      const back = all.map(({ keeper }) => hears(keeper.slave.events, 'resumed'))
      await running?.end('SIGKILL')
      // As the heartbeat would find within ten seconds.
      await Promise.all(all.map(({ peers }) => cut(peers.at(-1))))
      await start()
      await Promise.all(back)
    }
    await Promise.all(all.map(({ keeper }) => keeper.slave.settled()))
    const { lost, twice } = await examine(
      all.map(({ keeper }) => keeper),
      made,
    )
    report(`${KILLS} kills over wrtc`, { made, lost, twice, 'ms to serve again': recoveries })
    expect({ lost, twice }).to.deep.equal({ lost: 0, twice: 0 })
  })

  it('would be found to lose, if the master kept nothing', async () => {
    const start = async (): Promise<void> => {
      running = new Program([MASTER, setting.url, '', 'none'])
      await running.prints(/serves/)
    }
    await start()
    const { keeper, peers } = await book('s')
    const tokens = await keeper.makeAndSettle(5)
    const back = hears(keeper.slave.events, 'reset')
    await running?.end('SIGKILL')
    await cut(peers.at(-1))
    await start()
    await back
    expect(discrepancies(keeper.slave.getState(), [keeper])).to.deep.equal(
      tokens.map((token) => `${token} was acknowledged and is not there`),
    )
  })
})
