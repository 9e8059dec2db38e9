import { expect } from 'chai'
import { chances, type WorldOptions } from 'named-master/testing'
import { newSecret } from '#src/signal/secret.js'
import { Audit, type Findings, type Ledger } from '../suites/audit.js'
import { long, report, seed } from '../suites/faults.js'

const CUTS = long(500, 10_000)
const SLAVES = 4

type Tamper = NonNullable<WorldOptions<Ledger>['tamper']>

/** Slaves that make changes while their links are cut, at moments that the seed chooses. */
async function cutAgainAndAgain(cuts: number, tamper: Tamper = {}): Promise<Findings> {
  const chance = chances(seed)
  const audit = await Audit.begin({
    slaves: [1, 5, 20, 60],
    seed,
    jitter: 10,
    loss: 0.002,
    rate: 200_000,
    disk: { latency: 2 },
    tamper,
  })
  const { world } = audit
  for (let cut = 0; cut < cuts; cut++) {
    for (let i = 0; i < 4; i++) audit.change(Math.floor(chance() * SLAVES))
    await world.advance(chance() * 60)
    world.slaves[Math.floor(chance() * SLAVES)]?.cut()
  }
  await world.settle()
  const findings = audit.findings()
  await world.close()
  return findings
}

describe(`links in memory that are cut at any moment (seed ${seed})`, function () {
  this.timeout(60_000 + CUTS * 20)

  it('lose nothing, bring nothing twice, and keep the order', async () => {
    const findings = await cutAgainAndAgain(CUTS)
    report(`${CUTS} cuts`, { ...findings })
    const { made, acknowledged, ...wrong } = findings
    expect(acknowledged).to.equal(made)
    expect(made).to.equal(CUTS * 4)
    for (const [what, count] of Object.entries(wrong)) expect(count, what).to.equal(0)
  })

  it('would be found to bring changes twice, if a slave were somebody else on each link', async () => {
    const findings = await cutAgainAndAgain(100, {
      up: (message) => {
        if (message.command !== 'hello') return message
        return { ...message, payload: { ...message.payload, secret: newSecret() } }
      },
      // A master that does not know it says so, and the slave repeats nothing: this one does not say so.
      down: (message) => {
        if (message.command !== 'welcome') return message
        return { ...message, payload: { ...message.payload, lastSeq: 0 } }
      },
    })
    report('100 cuts, and slaves that are new on each link', { ...findings })
    expect(findings.twice).to.be.greaterThan(0)
  })
})
