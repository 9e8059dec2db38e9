/** A stranger who knocks at a master's door and does not come in. */
import { expect } from 'chai'
import { Master, Slave, createStore } from 'named-master'
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { nativeConnections } from '#src/link/native.js'
import { codeOf, Fixture, silent } from '../integration/nameserver-fixture.js'
import { ManualClock } from 'named-master/testing'

describe('a master and who only knocks', () => {
  const fixture = new Fixture()
  afterEach(async () => {
    await fixture.end()
    await nativeConnections.idle()
  })

  it('keeps places for those who come in', async () => {
    const { url } = await fixture.serve()
    const clock = new ManualClock()
    const master = new Master(url, { store: createStore({ n: 1 }), maxSlaves: 2, clock, log: silent })
    fixture.after(() => master.close())
    await master.startServer('garage')
    const knocker = await fixture.client(url)
    const stranger = Connection.offering(await loadRtc())
    fixture.after(() => stranger.close())
    const offer = await stranger.description()
    const knock = () => knocker.request('connect', { name: 'garage', offer })
    await knock()
    await knock()
    expect(await codeOf(knock())).to.equal('too-many')
    await clock.advance(2000)
    const slave = new Slave<{ n: number }>(url, { log: silent })
    fixture.after(() => slave.disconnect())
    expect(await slave.connect('garage'), slave.lastError?.message).to.equal(true)
    expect(slave.getState().n).to.equal(1)
  })
})
