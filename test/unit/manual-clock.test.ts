import { expect } from 'chai'
import { ManualClock } from 'named-master/testing'

describe('a clock that is told', () => {
  it('fires timers when they are due, and among equals in the order in which they were set', async () => {
    const clock = new ManualClock()
    const fired: string[] = []
    clock.setTimeout(() => fired.push(`c at ${clock.now()}`), 20)
    clock.setTimeout(() => fired.push(`a at ${clock.now()}`), 10)
    clock.setTimeout(() => fired.push(`b at ${clock.now()}`), 10)
    clock.clearTimeout(clock.setTimeout(() => fired.push('cleared'), 10))
    await clock.advance(9)
    expect(fired).to.deep.equal([])
    await clock.advance(1)
    expect(fired).to.deep.equal(['a at 10', 'b at 10'])
    expect(clock.timers).to.equal(1)
    await clock.advance(100)
    expect([fired.at(-1), clock.now(), clock.timers]).to.deep.equal(['c at 20', 110, 0])
  })

  it('lets go on what waits for a timer before the next one fires', async () => {
    const clock = new ManualClock()
    const happened: string[] = []
    const wait = (ms: number): Promise<void> => new Promise((resolve) => void clock.setTimeout(resolve, ms))
    const one = wait(10).then(() => happened.push('after the first'))
    clock.setTimeout(() => happened.push('the second'), 10)
    await clock.advance(10)
    await one
    expect(happened).to.deep.equal(['after the first', 'the second'])
  })

  it('makes timers late that were due while it slept', async () => {
    const clock = new ManualClock()
    const at: number[] = []
    clock.setTimeout(() => at.push(clock.now()), 10)
    await clock.sleep(1000)
    expect(at).to.deep.equal([1000])
  })

  it('goes on until a promise is settled, and no further', async () => {
    const clock = new ManualClock()
    const work = async (): Promise<string> => {
      for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => void clock.setTimeout(resolve, 100))
      return 'done'
    }
    clock.setTimeout(() => undefined, 5000)
    expect(await clock.until(work())).to.equal('done')
    expect(clock.now()).to.equal(300)
    const rejected = clock.until(Promise.reject(new Error('why')))
    expect(await rejected.catch(String)).to.equal('Error: why')
  })

  it('says so when a promise is not settled in time', async () => {
    const clock = new ManualClock()
    const never = new Promise<void>(() => undefined)
    // However much happens meanwhile.
    const tick = (): void => void clock.setTimeout(tick, 1)
    tick()
    expect(await clock.until(never, 50).catch(String)).to.equal('Error: What was waited for did not end within 50 ms')
    expect(clock.now()).to.equal(50)
    expect(await clock.advance(-1).catch(String)).to.match(/^TypeError/)
  })
})
