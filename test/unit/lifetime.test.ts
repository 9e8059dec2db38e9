import { expect } from 'chai'
import { lifetime } from '#src/clock.js'
import { ManualClock } from '../integration/nameserver-fixture.js'

describe('a lifetime', () => {
  it('fires until it ends, and nothing after it', () => {
    const clock = new ManualClock()
    const life = lifetime(clock)
    const fired: string[] = []
    life.setTimeout(() => fired.push('in time'), 10)
    life.clearTimeout(life.setTimeout(() => fired.push('cleared'), 10))
    clock.advance(10)
    life.setTimeout(() => fired.push('late'), 10)
    life.end()
    life.end()
    life.setTimeout(() => fired.push('after the end'), 10)
    clock.advance(10)
    expect(fired).to.deep.equal(['in time'])
    expect(clock.pending).to.equal(0)
  })
})
