import { expect } from 'chai'
import * as fc from 'fast-check'
import { deedNames, type DeedName, type State } from '../suites/world-program.js'
import { World, type WorldOptions } from '../suites/world.js'

/** Some seconds; who changes a rule of replication sets WORLD_RUNS to some thousands. */
const RUNS = Number(process.env['WORLD_RUNS'] ?? 300)
/** On a machine with other work to do fewer are tried. */
const MAX_MS = 10_000 + RUNS * 50

const events = ['cut', 'leave', 'return', 'move', 'reset', 'settled', 'echo', 'slow', 'fail', 'wave', 'burst', 'enqueue', 'disk', 'restart', 'forget', 'kill', 'master'] as const // prettier-ignore
/** What takes long. */
const seldom = ['flood', 'nap', 'night'] as const
type Step = { readonly who: number; readonly what: (typeof events)[number] | (typeof seldom)[number] | DeedName; readonly deed: DeedName; readonly wait: number } // prettier-ignore

const step: fc.Arbitrary<Step> = fc.record({
  who: fc.nat(7),
  what: fc.oneof(
    { weight: 100, arbitrary: fc.constantFrom(...deedNames) },
    { weight: 40, arbitrary: fc.constantFrom(...events) },
    { weight: 1, arbitrary: fc.constantFrom(...seldom) },
  ),
  deed: fc.constantFrom(...deedNames),
  wait: fc.constantFrom(0, 0, 0, 0, 1, 10, 40, 150),
})

const someSteps = fc.array(step, { maxLength: 80, size: 'max' })

const options: fc.Arbitrary<WorldOptions> = fc.record({
  seed: fc.nat(),
  latencies: fc.array(fc.constantFrom(0, 1, 10, 50, 200), { minLength: 1, maxLength: 8 }),
  jitter: fc.constantFrom(0, 0, 30),
  loss: fc.constantFrom(0, 0, 0, 0.03),
  rate: fc.constantFrom(Infinity, Infinity, 50_000),
  frame: fc.constantFrom(65_536, 1_000),
  disk: fc.constantFrom(0, 0, 5, 60),
  heartbeat: fc.boolean(),
  eager: fc.boolean(),
})

async function take(world: World, { who, what, deed, wait }: Step): Promise<void> {
  const slave = world.slaves[who % world.slaves.length]!
  switch (what) {
    case 'cut': slave.cut(); break
    case 'leave': slave.leave(); break
    case 'return': slave.comeBack(); break
    case 'move': slave.move(); break
    case 'reset': slave.comeBackByReset(); break
    case 'settled': void slave.settled(); break
    case 'echo':
    case 'slow':
    case 'fail': void slave.call(what); break
    case 'wave': slave.wave(); break
    case 'burst': for (let i = 0; i < 10; i++) slave.do(deed); break
    case 'enqueue': world.enqueue(); break
    case 'disk': world.failDisk(1 + wait * 10); break
    case 'restart': await world.restart(); break
    case 'forget': await world.restart(true); break
    case 'kill': await world.kill(); break
    case 'flood': if (world.options.rate !== Infinity) world.flood(); break
    case 'nap': await world.clock.sleep(15_000); break
    case 'night': await world.clock.advance(130_000); break
    case 'master': world.act(deed); break
    default: slave.do(what)
  } // prettier-ignore
  if (wait > 0) await world.clock.advance(wait)
}

async function live(options: WorldOptions, steps: readonly Step[]): Promise<void> {
  const world = await World.begin(options)
  await world.clock.advance(0)
  for (const each of steps) await take(world, each)
  await world.quiesce()
  const faults = world.faults()
  await world.end()
  if (world.clock.timers > 0) faults.push(`${world.clock.timers} timers are left`)
  if (faults.length > 0) throw new Error([...new Set(faults)].slice(0, 12).join('\n'))
}

/** What a shrunken counterexample needs to be a test: who does what, and the milliseconds until the next. */
const steps = (...all: [who: number, what: Step['what'], wait?: number][]): Step[] =>
  all.map(([who, what, wait = 0]) => ({ who, what, deed: 'own', wait }))

/** All are connected and at rest. */
async function settledWorld(latencies: readonly number[], more: Partial<WorldOptions> = {}): Promise<World> {
  const made = await World.begin({ seed: 1, latencies, ...more })
  await made.rest(() => made.rests)
  return made
}

/** @returns the state that all had in the end */
async function endWell(living: World): Promise<State> {
  await living.quiesce()
  expect(living.faults()).to.deep.equal([])
  const state = living.store.getState()
  await living.end()
  expect(living.clock.timers).to.equal(0)
  return state
}

/** A fault that the property must find. */
async function isFound(broken: Pick<WorldOptions, 'up' | 'down'>): Promise<void> {
  const lives = fc.asyncProperty(options, someSteps, (given, taken) => live({ ...given, ...broken }, taken))
  const { failed } = await fc.check(lives, { numRuns: RUNS, endOnFailure: true })
  expect(failed).to.equal(true)
}

describe('a world of slaves', function () {
  this.timeout(120_000 + RUNS * 100)

  it('converges, whatever happens in between', async () => {
    // No time limit of fast-check: it leaves the world that it interrupts going, beside all tests that follow.
    const end = Date.now() + MAX_MS
    const lives = fc.asyncProperty(options, someSteps, async (given, taken) => {
      if (Date.now() < end) await live(given, taken)
    })
    await fc.assert(lives, { numRuns: RUNS })
  })

  describe('as it was found broken', () => {
    it('a number given to two clients, when the first had been forgotten and a third written anew', async () => {
      const three = await settledWorld([1, 1, 1])
      // Its record is written again, since it has heard by now that it was new.
      three.slaves[0]!.cut()
      await three.rest(() => three.rests)
      await three.restart(true)
      await three.rest(() => three.rests)
      expect(three.living.master.slaves.map(({ client }) => client)).to.have.members([4, 5, 6])
      await endWell(three)
    })

    it('a mutate that changes nothing, made on a change that is not answered', () =>
      live({ seed: 0, latencies: [0] }, steps([0, 'own'], [0, 'cut'], [0, 'serve'])))

    it('a reset by a snapshot older than what was heard', () =>
      live({ seed: 0, latencies: [0, 0] }, steps([1, 'own'], [0, 'slow', 10], [0, 'reset'])))

    it('a cut that takes the welcome which says that the slave is not known', () =>
      live(
        { seed: 0, latencies: [50] },
        steps([0, 'wave', 150], [0, 'own', 75], [0, 'cut'], [0, 'forget', 95], [0, 'cut']),
      ))

    it('a cut between that welcome and the state that follows it', () =>
      live(
        { seed: 0, latencies: [50], rate: 50_000, frame: 1000 },
        steps([0, 'wave', 300], [0, 'own', 80], [0, 'cut'], [0, 'forget', 150], [0, 'cut']),
      ))

    it('a commit of our own in one frame with a welcome that was made before it', () =>
      live(
        { seed: 0, latencies: [0], rate: 50_000 },
        steps([0, 'wave', 100], [0, 'flood', 100], [0, 'disk', 4], [0, 'own', 8], [0, 'own', 8], [0, 'own']),
      ))
  })

  it('loses no update of two that count to a hundred each', async () => {
    const two = await settledWorld([5, 7], { jitter: 3 })
    for (let i = 0; i < 100; i++) {
      for (const slave of two.slaves) slave.do('n')
      await two.clock.advance(1)
    }
    const { count } = await endWell(two)
    expect(count['n']).to.equal(200)
    expect(two.slaves.map(({ state }) => state?.count['n'])).to.deep.equal([200, 200])
  })

  it('lets a slow slave through at its fifth attempt', async () => {
    const race = await settledWorld([400, 1, 2, 3])
    const [slow, ...fast] = race.slaves
    for (let round = 0; round < 2; round++) {
      let conflicts = 0
      slow!.session.link!.events.on('message', ({ command }) => command === 'refused' && conflicts++)
      slow!.do('n')
      const answered = (): boolean => slow!.session.replica.pending === 0
      for (let ms = 0; ms < 20_000 && !answered(); ms += 20) {
        for (const slave of fast) if (slave.session.replica.pending === 0) slave.do('n')
        await race.clock.advance(20)
      }
      expect(answered()).to.equal(true)
      expect(conflicts).to.be.within(1, 4)
      // A reservation costs nine times its length.
      await race.clock.advance(20_000)
    }
    await endWell(race)
  })

  it('sends a slow reader the state, not all it has missed', async () => {
    const rate = 100_000
    const one = await settledWorld([10], { rate })
    const [slave] = one.slaves
    const began = one.clock.now()
    let told = 0
    one.store.on('news', () => {})
    const total = 600
    for (let n = 0; n < total; n++) one.store.emit('news', { token: one.token(), text: 'x'.repeat(10_000) })
    slave!.session.events.on('caughtUp', ({ by }) => by === 'snapshot' && told++)
    slave!.do('own')
    await one.rest(() => one.rests)
    expect(told).to.be.at.least(1)
    expect(one.clock.now() - began).to.be.lessThan(((total * 10_000) / rate) * 1000 * 0.5)
    await endWell(one)
  })

  it('resets a slave that stayed away until the log had forgotten its position', async () => {
    const two = await settledWorld([10, 10])
    const [away, here] = two.slaves
    const hows: string[] = []
    away!.session.events.on('caughtUp', ({ by }) => hows.push(by))
    away!.do('own')
    away!.do('n')
    away!.leave()
    for (let n = 0; n < 12; n++) {
      two.store.emit('news', { token: two.token(), text: 'x'.repeat(1024 * 1024) })
      here!.do('n')
      await two.clock.advance(50)
    }
    away!.do('own')
    away!.comeBack()
    const { count } = await endWell(two)
    expect(hows).to.deep.equal(['snapshot'])
    expect(count).to.include({ 'own-s0': 2, n: 13 })
  })

  it('keeps one session of two tabs with one secret: it moves to whoever says hello', async () => {
    const secrets: string[] = []
    const two = await settledWorld([1, 5], {
      up: (message) => {
        if (message.command === 'hello') secrets.push(message.payload.secret)
        return message
      },
    })
    const [first, second] = two.slaves
    first!.do('own')
    await two.rest(() => two.rests)
    const reasons: string[] = []
    first!.session.link!.events.on('close', ({ code }) => reasons.push(code))
    second!.leave()
    first!.leave = () => {}
    second!.comeBackAs(secrets[0]!)
    await two.rest(() => reasons.length > 0)
    expect(reasons).to.deep.equal(['moved'])
    expect(two.living.master.slaves.map(({ client }) => client)).to.deep.equal([1])
    await two.end()
  })

  describe('would tell', () => {
    it('of a master that does not look at the base of a mutate', () =>
      isFound({
        up: (message, { living }) => {
          if (message.command !== 'mutate') return message
          return { ...message, payload: { ...message.payload, base: living.master.version } }
        },
      }))

    it('of a slave that applies a commit twice', () =>
      isFound({
        down: (message) => {
          if (message.command !== 'commit') return message
          const { payload } = message
          return { ...message, payload: { ...payload, patch: [...payload.patch, ...payload.patch] } }
        },
      }))
  })
})
