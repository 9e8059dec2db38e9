/** One hostile slave and what it can make its master do. */
import { expect } from 'chai'
import { ManualClock } from '../suites/manual-clock.js'
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
})
