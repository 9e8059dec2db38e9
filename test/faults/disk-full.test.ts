import { expect } from 'chai'
import { chances, type WorldOptions } from 'named-master/testing'
import { Audit, type Findings, type Ledger } from '../suites/audit.js'
import { long, report, seed } from '../suites/faults.js'

const TIMES = long(10, 200)
const SLAVES = 3

interface Outcome extends Findings {
  /** The codes of what was refused. */
  readonly codes: readonly string[]
}

/** A disk that is full for a while, again and again, while slaves and the master's own program go on. */
async function fillAgainAndAgain(times: number, tamper: WorldOptions<Ledger>['tamper'] = {}): Promise<Outcome> {
  const chance = chances(seed)
  const audit = await Audit.begin({
    slaves: [1, 5, 20],
    seed,
    disk: { latency: 1 },
    tamper,
    // It says that it cannot write, which is what is tried here.
    log: () => undefined,
  })
  const { world } = audit
  const changes = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      audit.change(Math.floor(chance() * SLAVES))
      await world.advance(chance() * 20)
    }
  }
  try {
    for (let time = 0; time < times; time++) {
      await changes(10)
      world.disk.fail()
      const { written } = world.master
      await changes(10)
      // What was applied when the write failed waits; nothing more comes.
      expect(world.master.written).to.equal(written)
      expect(() => world.master.store.emit('change', { by: 'master', number: time }))
        .to.throw()
        .with.property('code', 'storage-full')
      for (const slave of world.slaves) expect(slave.getState().sum).to.be.at.least(written)
      if (time % 2 === 0) world.slaves[time % SLAVES]?.cut()
      world.disk.heal()
      // The master tries again each second.
      await world.advance(1100)
      const { version } = world.master
      await changes(5)
      await world.advance(100)
      expect(world.master.written, 'work goes on').to.be.greaterThan(version)
    }
    await world.settle()
    return { ...audit.findings(), codes: audit.codes }
  } finally {
    await world.close()
  }
}

describe(`a disk that is full for a while (seed ${seed})`, function () {
  this.timeout(60_000 + TIMES * 100)

  it('refuses changes until it can be written again, and loses nothing', async () => {
    const { codes, ...findings } = await fillAgainAndAgain(TIMES)
    report(`full ${TIMES} times`, { ...findings })
    const { made, acknowledged, refused, ...wrong } = findings
    expect(acknowledged + refused).to.equal(made)
    expect(refused).to.be.greaterThan(0)
    expect(codes).to.deep.equal(['storage-full'])
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
  })

  it('would be found to leave changes unanswered, if the refusals did not arrive', async () => {
    const outcome = await fillAgainAndAgain(2, {
      down: (message) => (message.command === 'refused' ? { ...message, command: 'pong', payload: {} } : message),
    }).catch(String)
    expect(outcome).to.match(/work goes on|does not come to rest: .*unanswered/)
  })
})
