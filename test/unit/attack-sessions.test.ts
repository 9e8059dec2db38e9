/** One hostile slave and what it can make its master do. */
import { expect } from 'chai'
import { ManualClock } from 'named-master/testing'
import { sessionsOf } from '../suites/slaves.js'

describe('sessions with a hostile slave', () => {
  it('answer a call once, however often it is asked for', async () => {
    const clock = new ManualClock()
    const { methods, join } = sessionsOf({}, clock)
    let runs = 0
    methods.expose('everything', () => {
      runs++
      return 'x'.repeat(100_000)
    })
    const slave = await join()
    for (let i = 0; i < 50; i++) {
      slave.say('call', { call: 1, method: 'everything', lowestCall: 1 })
      await clock.advance(0)
    }
    expect(runs).to.equal(1)
    expect(slave.all('answer')).to.have.length(1)
  })

  it('send on no more of its volatile events than leaves room for the commits of others', async () => {
    const clock = new ManualClock()
    const { store, join } = sessionsOf({ n: 0 }, clock)
    let ran = 0
    store.on('shout', () => void ran++)
    const [hostile, other] = [await join(), await join()]
    const shout = async (times: number, payload: string) => {
      for (let i = 0; i < times; i++) hostile.say('volatile', { event: 'shout', payload })
      await clock.advance(0)
    }
    await shout(2000, 'x')
    expect(other.all('volatile').length).to.equal(512)
    expect(ran).to.equal(512)
    await shout(1, 'x'.repeat(1_000_000))
    expect(other.all('volatile').length).to.equal(512)
    await clock.advance(1000)
    await shout(2000, 'x')
    expect(other.all('volatile').length).to.equal(768)
    store.mutate((state) => ({ ...(state as object), n: 1 }))
    await clock.advance(0)
    expect(other.all('commit')).to.have.length(1)
    expect(hostile.open).to.equal(true)
  })
})
