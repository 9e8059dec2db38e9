import { expect } from 'chai'
import fc from 'fast-check'
import { createLink, type Link, type LinkOptions } from '#src/link/link.js'
import { channelPair, linkPair, type MemoryOptions } from '#src/link/memory.js'
import type { Frame } from '#src/link/frames.js'
import { closed, messages, options, parseSaid, say, type Said } from '../suites/link.js'
import { ManualClock } from 'named-master/testing'

const heartbeat = { interval: 1_000, silence: () => 3_000 }

function pair(more: MemoryOptions, left: Partial<LinkOptions<Said>> = {}, right: Partial<LinkOptions<Said>> = {}) {
  return linkPair<Said, Said>({ ...more, left: options(left), right: options(right) })
}

/** What a link did, in order. */
function story(link: Link<Said, Said>): string[] {
  const told: string[] = []
  link.events.on('message', (message) => told.push(message.command))
  link.events.on('room', () => told.push('room'))
  link.events.on('close', (reason) => told.push(`close ${reason.code}`))
  return told
}

describe('a link in time', () => {
  it('measures the round trip by its own clock', async () => {
    const clock = new ManualClock()
    const { left } = pair({ clock, latency: 40 }, { heartbeat })
    await clock.advance(100)
    expect(left.roundTrip).to.equal(80)
    const closing = left.close('closed', 'over')
    await clock.advance(80)
    await closing
  })

  it('pings at the interval, also while a slow line keeps the answers, and is heard by that', async () => {
    const clock = new ManualClock()
    const { left, right } = pair({ clock, rate: 50_000, latency: 10 }, { heartbeat }, { heartbeat })
    // Twenty seconds of the line, one way.
    for (let n = 0; n < 1000; n++) right.send(say({ value: 'x'.repeat(1_000) }))
    const told = story(left)
    await clock.advance(19_000)
    expect([left.open, right.open]).to.deep.equal([true, true])
    await clock.advance(10_000)
    expect(told.filter((command) => command === 'say')).to.have.length(1000)
    const closing = Promise.all([left.close('closed', 'over'), right.close('closed', 'over')])
    await clock.advance(2_000)
    await closing
  })

  it('notices a dead end by its silence, exactly then', async () => {
    const clock = new ManualClock()
    const { left, right } = channelPair({ clock })
    right.attach({ frame: () => {}, drained: () => {}, closed: () => {} })
    const link = createLink<Said, Said>(left, options({ clock, heartbeat }))
    const told = story(link)
    await clock.advance(500)
    right.send(JSON.stringify([say({ n: 1 })]))
    await clock.advance(2_999)
    expect(told).to.deep.equal(['say'])
    await clock.advance(1)
    expect(told).to.deep.equal(['say', 'close silent'])
    await clock.advance(5_000)
    expect(clock.timers).to.equal(0)
  })

  it('gives a process that slept one more interval, once', async () => {
    const clock = new ManualClock()
    const { left, right } = channelPair({ clock })
    right.attach({ frame: () => {}, drained: () => {}, closed: () => {} })
    const link = createLink<Said, Said>(left, options({ clock, heartbeat }))
    const told = story(link)
    await clock.advance(100)
    await clock.sleep(60_000)
    expect(told).to.deep.equal([])
    await clock.advance(999)
    expect(told).to.deep.equal([])
    await clock.advance(1)
    expect(told).to.deep.equal(['close silent'])
  })

  it('lets the silence grow while it lasts (a page that is hidden)', async () => {
    const clock = new ManualClock()
    let silence = 3_000
    const { left, right } = channelPair({ clock })
    right.attach({ frame: () => {}, drained: () => {}, closed: () => {} })
    const link = createLink<Said, Said>(left, options({ clock, heartbeat: { ...heartbeat, silence: () => silence } }))
    await clock.advance(2_000)
    silence = 90_000
    await clock.advance(87_999)
    expect(link.open).to.equal(true)
    await clock.advance(1)
    expect(link.open).to.equal(false)
  })

  it('polls a stalled line ever more seldom', async () => {
    const clock = new ManualClock()
    const { left, cut } = pair({ clock, rate: 1 })
    const timers: number[] = []
    const setTimer = clock.setTimeout.bind(clock)
    clock.setTimeout = (callback, ms) => {
      timers.push(ms)
      return setTimer(callback, ms)
    }
    for (let n = 0; n < 12; n++) left.send(say({ value: 'x'.repeat(60_000) }))
    await clock.advance(100)
    expect(timers.filter((ms) => ms <= 16)).to.deep.equal([1, 2, 4, 8, 16, 16, 16, 16, 16, 16])
    cut()
    expect(clock.timers).to.equal(0)
  })

  it('answers no flood of pings that nobody reads', async () => {
    const clock = new ManualClock()
    const { left, right } = channelPair({ clock })
    let pongs = 0
    right.attach({
      frame: (frame) => (pongs += (JSON.parse(frame as string) as Said[]).length),
      drained: () => {},
      closed: () => {},
    })
    let buffered = 1024 * 1024
    Object.defineProperty(left, 'bufferedAmount', { get: () => buffered, set: () => {} })
    const link = createLink<Said, Said>(left, options({ clock }))
    const ping = { ...say({}), command: 'ping' }
    for (let n = 0; n < 100; n++) right.send(JSON.stringify(new Array(400).fill(ping)))
    await clock.advance(100)
    expect(pongs).to.equal(0)
    buffered = 0
    await clock.advance(100)
    expect(pongs).to.be.within(1, 1_000)
    expect(link.open).to.equal(true)
    await Promise.all([link.close('closed', 'over'), right.close()])
  })
})

describe('a link in memory', () => {
  it('is cut on demand: both ends see it, what is in flight is lost', async () => {
    const clock = new ManualClock()
    const { left, right, cut } = pair({ clock, latency: 10 })
    const [told, heard] = [story(left), story(right)]
    left.send(say({ n: 1 }))
    await clock.advance(5)
    cut()
    await clock.advance(1_000)
    expect([told, heard]).to.deep.equal([['close closed'], ['close closed']])
    expect(clock.timers).to.equal(0)
  })

  it('loses no single frame: it is cut where the seed says', async () => {
    const lived = async (seed: number): Promise<number> => {
      const { left, right } = pair({ loss: 0.1, seed })
      let got = 0
      right.events.on('message', () => got++)
      const end = closed(right)
      for (let n = 0; right.open; n++) {
        left.send(say({ n }))
        await Promise.resolve()
      }
      expect((await end).remote).to.equal(false)
      return got
    }
    const first = await lived(5)
    expect(await lived(5)).to.equal(first)
    const others = await Promise.all([1, 2, 3, 4].map(lived))
    expect(new Set([first, ...others]).size).to.be.greaterThan(1)
  })

  it('keeps the order under jitter', async () => {
    const clock = new ManualClock()
    const { left, right } = pair({ clock, latency: 5, jitter: 50, seed: 3 })
    const arrived = messages(right, 50)
    for (let n = 0; n < 50; n++) {
      left.send(say({ n }))
      await clock.advance(1)
    }
    await clock.advance(100)
    expect((await arrived).map((message) => (message.payload as { n: number }).n)).to.deep.equal([...Array(50).keys()])
  })

  it('delivers on microtasks when there is no latency', async () => {
    const clock = new ManualClock()
    const { left, right } = pair({ clock })
    const told = story(right)
    left.send(say({ n: 1 }))
    for (let n = 0; n < 10; n++) await Promise.resolve()
    expect(told).to.deep.equal(['say'])
    expect(clock.timers).to.equal(0)
  })

  it('disposes of itself', async () => {
    const { left, right } = pair({})
    const theirs = closed(right)
    await left[Symbol.asyncDispose]()
    expect((await theirs).remote).to.equal(true)
  })
})

describe('any bytes into a link', () => {
  const anyEnvelope = fc.record(
    {
      command: fc.constantFrom('say', 'ping', 'pong', 'goodbye', 'other'),
      payload: fc.object(),
      uuid: fc.constant(say({}).uuid),
      timestamp: fc.nat(),
    },
    { requiredKeys: [] },
  )
  const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
    fc.string(),
    fc.json(),
    fc.array(anyEnvelope, { maxLength: 4 }).map((all) => JSON.stringify(all)),
    fc.uint8Array({ maxLength: 100 }),
    fc.tuple(fc.constantFrom(0, 1, 2, 0x80, 0x81, 0x82), fc.json()).map(([head, json]) => {
      return new Uint8Array([head, ...new TextEncoder().encode(json)])
    }),
  )

  it('give messages or a closed link, never a throw', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyFrame, { maxLength: 8 }), async (frames) => {
        const { left, right } = channelPair()
        left.attach({ frame: () => {}, drained: () => {}, closed: () => {} })
        const link = createLink<Said, Said>(right, options({ strangerBytes: 500 }))
        const ends: string[] = []
        link.events.on('message', (message) => expect(parseSaid(message).ok).to.equal(true))
        link.events.on('close', (reason) => ends.push(reason.code))
        for (const frame of frames) {
          try {
            left.send(frame)
          } catch {
            break
          }
          await Promise.resolve()
        }
        await new Promise((resolve) => setImmediate(resolve))
        expect(ends).to.have.length(link.open ? 0 : 1)
        await Promise.all([link.close('closed', 'over'), left.close()])
      }),
      { numRuns: 500 },
    )
  })
})
