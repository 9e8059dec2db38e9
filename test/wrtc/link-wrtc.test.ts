import { expect } from 'chai'
import { loadRtc } from '#rtc'
import { nativeConnections } from '#src/link/native.js'
import { connect } from '../suites/connect.js'
import { linkSuite } from '../suites/link.js'

linkSuite('over wrtc', async () => {
  const { slave, left, right } = await connect(await loadRtc())
  return { left, right, cut: () => slave.close() }
})

after('nothing native is left', async () => {
  await nativeConnections.idle()
  expect(nativeConnections.open).to.equal(0)
})
