/** "#rtc" in a browser: the global RTCPeerConnection. */
import { NamedMasterError } from '../errors.js'

export type RtcEngine = { RTCPeerConnection: typeof RTCPeerConnection }

/** Rejects with `unreachable` where there is none (a worker, a browser with WebRTC switched off). */
export async function loadRtc(): Promise<RtcEngine> {
  if (typeof RTCPeerConnection === 'undefined') {
    throw new NamedMasterError(
      'unreachable',
      'There is no RTCPeerConnection here: use a page (not a worker) in a browser with WebRTC switched on.',
    )
  }
  return { RTCPeerConnection }
}
