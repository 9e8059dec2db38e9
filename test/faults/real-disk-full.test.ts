/** A real disk that is full for a while, below a real master in a process of its own. */
import { expect } from 'chai'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { Program } from '../suites/programs.js'
import { hears, Setting, shows } from '../suites/setting.js'
import { SmallDisk } from '../suites/small-disk.js'
import { Bookkeeper, type Counted } from '../suites/storekeepers.js'

const MASTER = fileURLToPath(new URL('../suites/real-master.js', import.meta.url))
const NAME = 'garage'

describe('a disk that is full for a while', function () {
  this.timeout(60_000)
  let setting: Setting
  let disk: SmallDisk
  let running: Program | undefined

  beforeEach(async () => {
    setting = await new Setting().open()
    disk = new SmallDisk(8)
  })
  afterEach(async () => {
    await running?.end('SIGKILL')
    disk.unmount()
    await setting.close()
  })

  async function start(durability: string): Promise<Program> {
    const program = (running = new Program([MASTER, setting.url, join(disk.path, 'data'), durability]))
    await program.prints(/serves/)
    return program
  }

  for (const durability of ['process', 'disk']) {
    it(`reads go on, changes are refused, and it heals by itself; durability ${durability}`, async () => {
      const master = await start(durability)
      const keeper = new Bookkeeper('a', setting.slave<Counted>())
      expect(await keeper.slave.connect(NAME)).to.equal(true)
      await keeper.makeAndSettle(5)
      disk.fill()
      // What fits into the last page is acknowledged, and what does not stays unanswered.
      let said: RegExpExecArray | undefined
      const full = master.prints(/full: its own change throws (\S+), it reads (\d+)/).then((match) => (said = match))
      const made: string[] = []
      while (said === undefined) {
        made.push(...keeper.make(5))
        await Promise.race([keeper.slave.settled(), full])
      }
      expect(said[1]).to.equal('storage-full')
      expect(Number(said[2])).to.be.at.least(5)
      expect(keeper.refused.size).to.equal(0)

      const refusal = hears(keeper.slave.events, 'refused')
      const late = keeper.make(3)
      const [{ code, message }] = await refusal
      expect(code).to.equal('storage-full')
      expect(message).to.match(/try later/)
      expect(keeper.slave.status).to.equal('connected')
      expect(keeper.slave.getState().tokens['a-1']).to.equal(1)
      // Who is new cannot be welcomed: that it is known must be written first.
      const joiner = setting.slave<Counted>()
      let joined = false
      const joining = joiner.connect(NAME, { wait: true }).then((reached) => (joined = reached))
      const again = hears(keeper.slave.events, 'refused', (one) => one.code === 'storage-full')
      late.push(...keeper.make(1))
      await again
      expect(joined).to.equal(false)

      disk.free()
      await master.prints(/written again/)
      await joining
      expect(joined).to.equal(true)
      await keeper.slave.settled().catch(() => undefined)
      const after = await keeper.makeAndSettle(5)
      const expected = [...keeper.acknowledged, ...made, ...late, ...after].filter(
        (token) => !keeper.refused.has(token),
      )
      const whole = Object.fromEntries(expected.map((token) => [token, 1]))
      await shows(joiner, ({ tokens }) => Object.keys(tokens).length === Object.keys(whole).length)
      expect(joiner.getState().tokens).to.deep.equal(whole)
      for (const token of late) expect(keeper.refused.get(token), token).to.equal('storage-full')

      // What was written behind the torn record is read again.
      await keeper.slave.disconnect()
      await master.end('SIGKILL')
      await start(durability)
      expect(await keeper.slave.connect(NAME)).to.equal(true)
      await keeper.makeAndSettle(1)
      const witness = await setting.connected<Counted>(NAME)
      expect(witness.getState().tokens).to.deep.equal({ ...whole, [[...keeper.acknowledged].at(-1) as string]: 1 })
    })
  }
})
