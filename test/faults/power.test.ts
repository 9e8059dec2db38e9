import { expect } from 'chai'
import { chances } from 'named-master/testing'
import { Audit, type Findings } from '../suites/audit.js'
import { long, report, seed } from '../suites/faults.js'

const POWER_CUTS = long(40, 1000)
const SLAVES = 3

interface Life {
  readonly durability: 'process' | 'disk'
  readonly cuts: number
}

interface Outcome extends Findings {
  /** Slaves that came back by a reset. */
  readonly resets: number
  /** How often the disk was written to itself. */
  readonly syncs: number
}

/** A master whose power fails at moments that the seed chooses, with slaves ahead of what it has on its disk. */
async function cutThePower({ durability, cuts }: Life): Promise<Outcome> {
  const chance = chances(seed)
  const audit = await Audit.begin({ slaves: [1, 5, 20], seed, durability, disk: { latency: 1, syncLatency: 4 } })
  const { world } = audit
  let resets = 0
  for (const slave of world.slaves) slave.events.on('reset', () => resets++)
  for (let cut = 0; cut < cuts; cut++) {
    const away = world.slaves[Math.floor(chance() * SLAVES * 2)]
    for (let i = 0; i < 8; i++) {
      audit.change(Math.floor(chance() * SLAVES))
      await world.advance(chance() * 10)
      // It stays ahead until after the next life has gone on.
      if (i === 5) away?.leave()
    }
    world.master.powerCut('some')
    await world.advance(chance() * 50)
    await world.master.restart()
    audit.change(Math.floor(chance() * SLAVES))
    await world.advance(100)
    // All are back, and all states are equal, or it throws.
    await world.settle()
  }
  const outcome = { ...audit.findings(), resets, syncs: world.disk.syncs }
  await world.close()
  return outcome
}

describe(`a master whose power fails at any moment (seed ${seed})`, function () {
  this.timeout(60_000 + POWER_CUTS * 100)

  it('has lost nothing that was acknowledged, on the disk itself', async () => {
    const outcome = await cutThePower({ durability: 'disk', cuts: POWER_CUTS })
    report(`${POWER_CUTS} power cuts, durability disk`, { ...outcome })
    const { made, acknowledged, resets, syncs, ...wrong } = outcome
    expect(acknowledged).to.equal(made)
    expect([resets, syncs > POWER_CUTS]).to.deep.equal([0, true])
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
  })

  it('has lost something else, and says which; nobody goes another way', async () => {
    const outcome = await cutThePower({ durability: 'process', cuts: POWER_CUTS })
    report(`${POWER_CUTS} power cuts, durability process`, { ...outcome })
    const { made, acknowledged, lost, reported, resets, syncs, ...wrong } = outcome
    expect(lost).to.be.greaterThan(0)
    expect(reported, 'of what is lost its programs were told').to.equal(lost)
    expect(resets).to.be.greaterThan(0)
    expect(acknowledged).to.equal(made)
    expect(syncs).to.be.greaterThan(0)
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
  })

  it('would be found to send slaves another way, if it believed whoever was ahead', async () => {
    let term = ''
    let isFirst = true
    const audit = await Audit.begin({
      slaves: 2,
      seed,
      tamper: {
        up: (message) => {
          if (message.command !== 'hello' || isFirst) return message
          return {
            ...message,
            payload: { ...message.payload, position: { term, version: audit.world.master.version } },
          }
        },
        down: (message) => {
          if (message.command === 'welcome') term = message.payload.position.term
          return message
        },
      },
    })
    const { world } = audit
    for (let i = 0; i < 5; i++) audit.change(0)
    await world.settle()
    world.slaves[1]?.leave()
    world.master.powerCut()
    await world.master.restart()
    await world.advance(100)
    isFirst = false
    expect(await world.settle().catch(String)).to.match(/slave 1 (shows another state|is at version)/)
    await world.close()
  })
})

describe(`what misleads nobody (seed ${seed})`, () => {
  it('a backup that is put back: slaves that were ahead are told what is lost', async () => {
    const audit = await Audit.begin({ slaves: 3, seed })
    const { world } = audit
    const change = async (): Promise<void> => {
      for (let slave = 0; slave < 3; slave++) audit.change(slave)
      await world.settle()
    }
    await change()
    const backup = world.disk.copy()
    await change()
    await world.master.stop()
    world.disk.putBack(backup)
    await world.master.restart()
    await world.settle()
    await change()
    const { made, acknowledged, lost, reported, ...wrong } = audit.findings()
    expect([made, acknowledged, lost, reported]).to.deep.equal([9, 9, 3, 3])
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
    await world.close()
  })

  it('a laptop that comes back when it was forgotten: what may have been taken is told, the rest is sent once', async () => {
    const audit = await Audit.begin({ slaves: 2, seed, latency: 20 })
    const { world } = audit
    audit.change(0)
    await world.settle()
    // On its way when the lid is closed, and taken.
    audit.change(0)
    await world.advance(21)
    world.slaves[0]?.leave()
    audit.change(0)
    const month = 31 * 24 * 3_600_000
    await world.clock.sleep(month)
    await world.settle()
    const { made, acknowledged, refused, ...wrong } = audit.findings()
    expect([made, acknowledged, refused]).to.deep.equal([3, 2, 1])
    expect(audit.codes).to.deep.equal(['unknown-outcome'])
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
    await world.close()
  })
})
