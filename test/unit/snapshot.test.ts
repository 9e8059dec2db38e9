/** A large state on its way to those who join: a master's sessions and slaves' over links in memory, with real deflating. */
import { expect } from 'chai'
import { v7 } from 'uuid'
import { deflate, inflate } from '#deflate'
import { systemClock } from '#src/clock.js'
import type { NamedMasterError } from '#src/errors.js'
import { encode, type Deflated, type Link } from '#src/link/link.js'
import { linkPair, type MemoryOptions } from '#src/link/memory.js'
import { Methods } from '#src/master/methods.js'
import { Snapshot } from '#src/master/snapshot.js'
import { Sessions } from '#src/master/sessions.js'
import { envelope } from '#src/protocol/envelope.js'
import type { JsonValue } from '#src/protocol/json.js'
import { parseDown, parseUp, type Down, type DownPayload, type Up } from '#src/protocol/replication.js'
import { Session } from '#src/slave/session.js'
import { Handlers } from '#src/store/handlers.js'
import { createStore, type Microstore } from '#src/store/index.js'
import { coreOf, type StoreCore } from '#src/store/store.js'

const MEBIBYTE = 1024 * 1024

interface State {
  readonly n: number
  readonly items: { readonly id: number; readonly text: string }[]
}
const largeState = (bytes: number): State => ({
  n: 0,
  items: Array.from({ length: bytes / 1000 }, (_, id) => ({ id, text: `${id} `.repeat(980 / `${id} `.length) })),
})
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const firstPart = ({ events }: Link<Down, Up>): Promise<void> =>
  new Promise<void>((resolve) => {
    const off = events.on('message', ({ command }) => {
      if (command !== 'part') return
      off()
      resolve()
    })
  })

/** A slave's session and a link to whoever plays its master. */
function slaveSide(options: MemoryOptions = {}) {
  const log: string[] = []
  const session = new Session({
    handlers: new Handlers(() => {}),
    clock: systemClock,
    log: (level, sentence) => void log.push(`${level} ${sentence}`),
  })
  const heard: Down[] = []
  const pair = linkPair<Down, Up>({
    ...options,
    left: { parse: parseDown, maxMessageBytes: 64 * MEBIBYTE, inflate },
    right: { parse: parseUp, maxMessageBytes: MEBIBYTE },
  })
  pair.left.events.on('message', (message) => heard.push(message))
  return { session, ...pair, heard, log, state: () => session.replica.value as unknown as State }
}

function masterSide(store: Microstore<State>) {
  const sessions = new Sessions({
    core: coreOf(store) as StoreCore,
    methods: new Methods(),
    append: async () => undefined,
    deflate,
    clock: systemClock,
    log: () => undefined,
  })
  const join = (options?: MemoryOptions) => {
    const slave = slaveSide(options)
    const off = slave.right.events.on('message', (message) => {
      off()
      if (message.command === 'hello') sessions.welcome(slave.right, message.payload)
    })
    return { ...slave, joined: slave.session.attach(slave.left) }
  }
  const end = async (): Promise<void> => {
    await sessions.dismiss('stopped', 'The master stops')
    await sessions.close()
  }
  return { join, end }
}

describe('a large state', () => {
  it('comes in parts, deflated, and is the state at one version though it changes meanwhile', async () => {
    const store = createStore(largeState(3 * MEBIBYTE))
    const { join, end } = masterSide(store)
    const slave = join()
    let changes = 0
    let done = false
    void slave.joined.then(() => (done = true))
    while (!done) {
      store.mutate((state) => {
        ;(state as { n: number }).n = ++changes
        const at = (changes * 37) % state.items.length
        ;(state.items as { id: number; text: string }[])[at] = { id: -changes, text: 'changed' }
        ;(state.items as unknown[]).push({ id: changes, text: 'new' })
        if (changes % 3 === 0) (state.items as unknown[]).splice(changes, 1)
      })
      await turn()
    }
    expect(changes).to.be.greaterThan(10)
    await slave.session.settled()
    await turn()
    await turn()
    expect(slave.state()).to.deep.equal(store.getState())
    const parts = slave.heard.filter(({ command }) => command === 'part')
    expect(parts.length).to.be.greaterThan(20)
    await end()
  })

  it('is made once for all who join, also for those who come in the middle', async () => {
    const store = createStore(largeState(2 * MEBIBYTE))
    const { join, end } = masterSide(store)
    const first = join()
    await firstPart(first.left)
    const others = [join(), join({ rate: 4 * MEBIBYTE })]
    await Promise.all([first, ...others].map(({ joined }) => joined))
    const late = join()
    await late.joined
    const idsOf = ({ heard }: typeof first) => heard.filter(({ command }) => command === 'part').map(({ uuid }) => uuid)
    for (const slave of [...others, late]) {
      expect(slave.state()).to.deep.equal(store.getState())
      expect(idsOf(slave)).to.deep.equal(idsOf(first))
    }
    await end()
  })

  it('goes on to those who are there when one of them leaves in the middle', async () => {
    const store = createStore(largeState(2 * MEBIBYTE))
    const { join, end } = masterSide(store)
    const leaver = join()
    const other = join()
    const why = leaver.joined.catch((error: unknown) => error as Error)
    leaver.left.events.on('message', ({ command }) => {
      if (command === 'part') leaver.cut()
    })
    await other.joined
    expect(other.state()).to.deep.equal(store.getState())
    expect(await why).to.be.instanceOf(Error)
    await end()
  })

  it('that is made anew in the middle comes to those who wait for the old one too', async () => {
    const store = createStore(largeState(2 * MEBIBYTE))
    const { join, end } = masterSide(store)
    const first = join()
    await firstPart(first.left)
    // More than the log keeps.
    const text = 'x'.repeat(3 * MEBIBYTE)
    for (let n = 0; n < 4; n++)
      store.mutate((state) => void ((state.items as { id: number; text: string }[])[n] = { id: -1, text }))
    const next = join()
    await Promise.all([first.joined, next.joined])
    for (const { session, state } of [first, next]) {
      while (session.replica.version < 4) await turn()
      expect(state()).to.deep.equal(store.getState())
    }
    await end()
  })

  it('that cannot be encoded ends the links of those who wait for it, and no process', async () => {
    const log: string[] = []
    const items: unknown[] = Array.from({ length: 3000 }, (_, n) => `${n} ${'x'.repeat(100)}`)
    Object.defineProperty(items, 2999, {
      enumerable: true,
      get() {
        throw new Error('It cannot be read')
      },
    })
    const snapshot = new Snapshot(
      1,
      items as JsonValue,
      deflate,
      (level, sentence) => void log.push(`${level} ${sentence}`),
    )
    await new Promise<void>((resolve) => {
      snapshot.events.on('grown', () => {
        if (snapshot.failed) resolve()
      })
    })
    expect([snapshot.complete, log.length]).to.deep.equal([false, 1])
  })

  it('is not sent instead of commits to a slave that is a little behind: it hears every event', async () => {
    const store = createStore<State>({ n: 0, items: [] })
    const { join, end } = masterSide(store)
    const slave = join({ rate: 4 * MEBIBYTE })
    await slave.joined
    // More than a link has room for, and far more than the state.
    for (let n = 0; n < 24; n++) store.emit('news', 'x'.repeat(60_000))
    while (slave.session.replica.version < 24) await turn()
    const count = (command: string) => slave.heard.filter((message) => message.command === command).length
    expect([count('welcome'), count('commit')]).to.deep.equal([1, 24])
    await end()
  })

  it('is no obstacle to a master that ends in the middle', async () => {
    const store = createStore(largeState(2 * MEBIBYTE))
    const { join, end } = masterSide(store)
    const slave = join()
    const why = slave.joined.catch((error: unknown) => (error as NamedMasterError).code)
    await firstPart(slave.left)
    await end()
    expect(await why).to.equal('stopped')
  })
})

describe('a slave that is sent a state in parts', () => {
  const term = v7()
  const welcome = (version: number): DownPayload<'welcome'> => ({
    version: 1,
    position: { term, version },
    by: 'snapshot',
    client: 1,
    session: v7(),
    calls: [],
    encoding: 'json',
  })
  const skeleton = envelope('snapshot', { version: 1, state: { items: [] }, more: true }) as Down
  const part = (more: object = {}) => envelope('part', { path: '/items', elements: [1], ...more }) as Down
  const commit = envelope('commit', { version: 2, patch: [], events: [] }) as Down

  const wrong: Record<string, Down[]> = {
    'a part without a snapshot': [part()],
    'a part after the last one': [skeleton, part({ last: true }), part()],
    'a part that fits nowhere': [skeleton, part({ path: '/nowhere' })],
    'a commit before the last part': [skeleton, part(), commit],
    'parts without a skeleton': [envelope('snapshot', { version: 1, more: true })],
  }
  for (const [what, messages] of Object.entries(wrong)) {
    it(`closes the link for ${what}, and asks for the state anew`, async () => {
      const { session, left, right, log } = slaveSide()
      const why = new Promise<string>((resolve) => void right.events.once('close', ({ code }) => resolve(code)))
      session.attach(left).catch(() => undefined)
      right.send(envelope('welcome', welcome(2)))
      for (const message of messages) right.send(message)
      expect(await why).to.equal('invalid-message')
      expect(session.replica.position).to.equal(undefined)
      expect(log).to.have.length(1)
    })
  }

  it('forgets what it has of one when there is a new welcome', async () => {
    const { session, left, right, state } = slaveSide()
    const joined = session.attach(left)
    right.send(envelope('welcome', welcome(1)))
    for (const message of [skeleton, part()]) right.send(message)
    right.send(envelope('welcome', welcome(1)))
    for (const message of [skeleton, part(), part({ elements: [2, 3], last: true })]) right.send(message)
    await joined
    expect(state()).to.deep.equal({ items: [1, 2, 3] })
    await left.close('closed', 'over')
  })

  it('takes messages in their order where inflating takes its time, also the last ones', async () => {
    const late: (() => void)[] = []
    const { left, right } = linkPair<Down, Up>({
      left: {
        parse: parseDown,
        maxMessageBytes: MEBIBYTE,
        inflate: async (bytes, maxBytes) => {
          await new Promise<void>((resolve) => late.push(resolve))
          return inflate(bytes, maxBytes)
        },
      },
      right: { parse: parseUp, maxMessageBytes: MEBIBYTE },
    })
    const told: string[] = []
    left.events.on('message', ({ command }) => told.push(command))
    const closed = new Promise<string>((resolve) => void left.events.once('close', ({ code }) => resolve(code)))
    const deflated = async (message: Down) => (await deflate(encode(message))) as Deflated<Down>
    right.send(await deflated(skeleton))
    right.send(commit)
    right.send(await deflated(part()))
    await right.close('stopped', 'The master stops')
    await turn()
    expect(told).to.deep.equal([])
    late[0]?.()
    await turn()
    expect(told).to.deep.equal(['snapshot', 'commit'])
    late[1]?.()
    expect(await closed).to.equal('stopped')
    expect(told).to.deep.equal(['snapshot', 'commit', 'part'])
  })
})
