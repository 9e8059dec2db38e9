import { expect } from 'chai'
import type { Channel } from '#src/link/channel.js'
import { createLink, type Link } from '#src/link/link.js'
import { channelPair, linkPair } from '#src/link/memory.js'
import { options, say, type Said } from '../suites/link.js'
import { ManualClock } from 'named-master/testing'

const LATENCY_MS = 10

/** A link, and its other end as a bare channel, which keeps what comes and does nothing by itself. */
function facingChannel(clock: ManualClock, latency = LATENCY_MS) {
  const { left, right } = channelPair({ clock, latency })
  const heard: Said[] = []
  right.attach({
    frame: (frame) => heard.push(...(JSON.parse(frame as string) as Said[])),
    drained: () => undefined,
    closed: () => undefined,
  })
  return { link: createLink<Said, Said>(left, options({ clock })), other: right, heard }
}

/** Says goodbye; answers whether the channel is closed, too. */
function leaving(link: Link<Said, Said>): { gone: boolean } {
  const state = { gone: false }
  void link.close('stopped', 'over').then(() => (state.gone = true))
  return state
}

const text = (message: Said): string => JSON.stringify([message])

/** Sends until the time is over or the channel is. */
async function talk(clock: ManualClock, channel: Channel, seconds: number, message = say({})): Promise<void> {
  for (let n = 0; n < seconds * 10; n++) {
    channel.send(text(message))
    await clock.advance(100)
  }
}

describe('a link that says goodbye', () => {
  it('closes when the other end has closed, and not before', async () => {
    const clock = new ManualClock()
    const { link, other, heard } = facingChannel(clock)
    const left = leaving(link)
    await clock.advance(900)
    expect(heard.map(({ command }) => command)).to.deep.equal(['goodbye'])
    expect(left.gone).to.equal(false)
    void other.close()
    await clock.advance(LATENCY_MS)
    expect(left.gone).to.equal(true)
    expect(clock.timers).to.equal(0)
  })

  it('waits a second for one that is silent', async () => {
    const clock = new ManualClock()
    const { link } = facingChannel(clock)
    const left = leaving(link)
    await clock.advance(999)
    expect(left.gone).to.equal(false)
    await clock.advance(1)
    expect(left.gone).to.equal(true)
    await clock.advance(LATENCY_MS)
    expect(clock.timers).to.equal(0)
  })

  it('waits while the other one goes on sending, and a second more', async () => {
    const clock = new ManualClock()
    const { link, other } = facingChannel(clock)
    const left = leaving(link)
    await talk(clock, other, 2)
    await clock.advance(890)
    expect(left.gone).to.equal(false)
    await clock.advance(20)
    expect(left.gone).to.equal(true)
  })

  it('waits five seconds at most', async () => {
    const clock = new ManualClock()
    const { link, other } = facingChannel(clock)
    const left = leaving(link)
    await talk(clock, other, 4.9)
    expect(left.gone).to.equal(false)
    await clock.advance(100)
    expect(left.gone).to.equal(true)
    await clock.advance(LATENCY_MS)
    expect(clock.timers).to.equal(0)
  })

  it('tells nothing that comes after, and is not deceived by a goodbye in somebody’s data', async () => {
    const clock = new ManualClock()
    const { link, other } = facingChannel(clock)
    link.events.on('message', () => expect.fail('a message after the end'))
    const left = leaving(link)
    await talk(clock, other, 1.5, say({ value: { command: 'goodbye' } }))
    expect(left.gone).to.equal(false)
    other.send('no JSON, but a "goodbye"')
    await clock.advance(900)
    expect(left.gone).to.equal(false)
    await clock.advance(200)
    expect(left.gone).to.equal(true)
  })

  it('does not wait for one that says goodbye at the same time', async () => {
    const clock = new ManualClock()
    const end = options({ clock })
    const { left, right } = linkPair<Said, Said>({ clock, latency: LATENCY_MS, left: end, right: end })
    const both = [leaving(left), leaving(right)]
    await clock.advance(LATENCY_MS)
    expect(both).to.deep.equal([{ gone: true }, { gone: true }])
    await clock.advance(LATENCY_MS)
    expect(clock.timers).to.equal(0)
  })
})

describe('a link that hears goodbye', () => {
  it('sends nothing more, and closes at once, whatever it still had to say', async () => {
    const clock = new ManualClock()
    const { link, other, heard } = facingChannel(clock, 0)
    const goodbye = { ...say({}), command: 'goodbye', payload: { code: 'closed', message: 'over' } }
    other.send(JSON.stringify([goodbye]))
    let closed = false
    link.events.on('close', () => {
      link.send(say({ n: 2 }))
      closed = true
    })
    for (let n = 0; n < 100; n++) link.send(say({ value: 'x'.repeat(60_000) }))
    await clock.advance(0)
    expect(closed).to.equal(true)
    const count = heard.length
    expect(() => other.send(text(say({})))).to.throw('the channel is closed')
    await clock.advance(10_000)
    expect(heard).to.have.length(count)
    expect(clock.timers).to.equal(0)
  })
})
