/** A slave in a page of the name server itself, which is no application's. */
import type { BrowserContext, Browser, Page } from 'playwright-core'
import type * as NamedMasterModule from 'named-master'
import { ATTEMPT, type Attempt } from './attempt.js'

declare const window: { readonly NamedMaster: typeof NamedMasterModule }

/** @param url the name server's */
export async function attemptInPage(
  browser: Browser | BrowserContext,
  url: string,
  policy: RTCIceTransportPolicy = 'all',
): Promise<{ readonly page: Page; readonly attempt: Attempt }> {
  const page = await browser.newPage()
  await page.goto(url)
  await page.addScriptTag({ url: '/named-master.js' })
  await page.evaluate((iceTransportPolicy) => {
    const peers: RTCPeerConnection[] = []
    class Recorded extends RTCPeerConnection {
      constructor(configuration?: RTCConfiguration) {
        super(configuration)
        peers.push(this)
      }
    }
    const rtc = { RTCPeerConnection: Recorded }
    Object.assign(window, { peers, slave: new window.NamedMaster.Slave(location.origin, { rtc, iceTransportPolicy }) })
  }, policy)
  return { page, attempt: await page.evaluate<Attempt>(`(() => { ${ATTEMPT}; return attempt(slave, peers) })()`) }
}
