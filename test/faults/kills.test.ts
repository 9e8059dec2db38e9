import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { long, report, seed } from '../suites/faults.js'
import { killAgainAndAgain, type KillFigures, type KillsOptions } from '../suites/kills.js'

const KILLS = long(50, 1000)
const SLAVES = 4

describe(`a master killed at any moment (seed ${seed})`, function () {
  this.timeout(60_000 + KILLS * 2000)

  let folder = ''
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'named-master-kills-'))))
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const kill = async (options: Partial<KillsOptions>): Promise<KillFigures> => {
    const all = { kills: KILLS, seed, slaves: SLAVES, folder, durability: 'process', ...options } as const
    const figures = await killAgainAndAgain(all)
    const { recoveries, ...counts } = figures
    report(
      `${all.kills} kills, durability ${all.durability}${all.hasty === true ? ', announced before written' : ''}`,
      {
        ...counts,
        'recovery in ms': recoveries,
      },
    )
    return figures
  }

  it('loses nothing that was acknowledged, and applies nothing twice', async () => {
    const { made, acknowledged, lost, twice, never, partial, refused } = await kill({})
    expect(acknowledged, 'there was something to lose').to.be.greaterThan(KILLS)
    expect({ lost, twice, never, partial, refused }).to.deep.equal({
      lost: 0,
      twice: 0,
      never: 0,
      partial: 0,
      refused: 0,
    })
    expect(acknowledged).to.equal(made)
  })

  it('nor on the disk itself', async () => {
    const { lost, twice, never, partial } = await kill({ durability: 'disk', kills: Math.ceil(KILLS / 5) })
    expect({ lost, twice, never, partial }).to.deep.equal({ lost: 0, twice: 0, never: 0, partial: 0 })
  })

  it('would be found to lose, if it announced before it has written', async () => {
    const { lost } = await kill({ hasty: true, kills: 10 })
    expect(lost).to.be.greaterThan(0)
  })
})
