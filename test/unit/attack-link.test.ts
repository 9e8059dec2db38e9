/** The other end of a link, when it asks and does not read. */
import { expect } from 'chai'
import { linkPair } from '#src/link/memory.js'
import { ManualClock } from 'named-master/testing'
import { closed, options, say, type Said } from '../suites/link.js'

describe('a link with an end that does not read', () => {
  it('closes as too-slow instead of keeping urgent messages without end', async () => {
    const clock = new ManualClock()
    const { left } = linkPair<Said, Said>({ left: options(), right: options(), rate: 1, clock })
    const reason = closed(left)
    const text = 'x'.repeat(64 * 1024)
    for (let n = 0; n < 1100; n++) left.send(say({ n, value: text }), 'urgent')
    expect(left.open).to.equal(false)
    await clock.advance(2000)
    expect((await reason).code).to.equal('too-slow')
  })
})
