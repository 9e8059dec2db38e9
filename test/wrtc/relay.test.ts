/** A connection through a real TURN server. */
import { expect } from 'chai'
import { loadRtc } from '#rtc'
import { nativeConnections } from '#src/link/native.js'
import { connect } from '../suites/connect.js'
import { Coturn } from '../suites/coturn.js'

describe('relay', () => {
  let coturn: Coturn | undefined

  afterEach(async () => {
    await nativeConnections.idle()
    await coturn?.stop()
  })

  it('carries a connection that takes no other path', async () => {
    const credentials = { username: 'ada', credential: 'secret' }
    coturn = await Coturn.start({ credentials })
    const iceServers = [{ urls: [coturn.turn('udp')], ...credentials }]
    const { slave, master } = await connect(await loadRtc(), { iceServers, iceTransportPolicy: 'relay' })
    expect([await slave.path(), await master.path()]).to.deep.equal(['relay', 'relay'])
    await Promise.all([slave.close(), master.close()])
  })
})
