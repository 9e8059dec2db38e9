/** A page that reaches a master in Node through a real TURN server that turn.config.json names, and no other way. */
import { expect } from 'chai'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { createStore } from 'named-master'
import { selectedPair, type Attempt } from '../suites/attempt.js'
import { Coturn } from '../suites/coturn.js'
import { attemptInPage } from '../suites/page-slave.js'
import { launchChromium } from '../suites/pages.js'
import { recordingRtc, Setting } from '../suites/setting.js'

const SECRET = { secret: 'that only the two servers know' }

describe('relay in Chromium', function () {
  this.timeout(60_000)
  let browser: Browser
  let setting: Setting
  let coturn: Coturn
  let masters: RTCPeerConnection[]
  before(async () => void (browser = await launchChromium()))
  after(() => browser.close())
  beforeEach(async () => {
    setting = new Setting()
    coturn = await Coturn.start({ credentials: SECRET })
    setting.onClose(() => coturn.stop())
  })
  afterEach(() => setting.close())

  async function attempt(...iceServers: object[]): Promise<Attempt> {
    const turn = join(await setting.folder(), 'turn.config.json')
    await writeFile(turn, JSON.stringify({ iceServers }))
    await setting.open({ turn })
    const { rtc, peers } = await recordingRtc()
    masters = peers
    await setting.master(createStore({ n: 0 }), { rtc }).startServer('garage')
    const { page, attempt } = await attemptInPage(browser, setting.url, 'relay')
    setting.onClose(() => page.close())
    return attempt
  }

  for (const transport of ['udp', 'tcp'] as const) {
    it(`carries a page, over ${transport}`, async () => {
      const { reached, path, pair, message } = await attempt(coturn.entry(transport))
      expect(reached, message).to.equal(true)
      expect(path).to.equal('relay')
      expect(pair).to.include({ local: 'relay', relayProtocol: transport })
      const [peer] = masters
      if (peer === undefined) throw new Error('The master has made no connection')
      // What comes from the relay may reach the master before the candidate that names it.
      expect((await selectedPair(peer)).remote).to.be.oneOf(['relay', 'prflx'])
    })
  }

  it('refuses wrong credentials, and the page is told', async () => {
    const { reached, code, message } = await attempt({ ...coturn.entry('udp'), secret: 'another' })
    expect({ reached, code }).to.deep.equal({ reached: false, code: 'unreachable' })
    expect(message).to.match(/^The TURN server turn:\S+ refused the credentials: check username and credential/)
  })
})
