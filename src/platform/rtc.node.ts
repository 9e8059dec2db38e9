/**
 * "#rtc" in Node: where RTCPeerConnection comes from. Nothing is loaded before the first call, so that what needs no
 * connection (the name server, --help) works where wrtc has no binary.
 */
import { NamedMasterError } from '../errors.js'

export type RtcEngine = { RTCPeerConnection: typeof RTCPeerConnection }

/** Rejects with `unreachable` where wrtc has no binary. */
export async function loadRtc(): Promise<RtcEngine> {
  try {
    const loaded: { default: RtcEngine } = await import('wrtc')
    return { RTCPeerConnection: loaded.default.RTCPeerConnection }
  } catch (cause) {
    throw new NamedMasterError(
      'unreachable',
      `wrtc has no binary for ${process.platform}-${process.arch} here: install again without --omit=optional, ` +
        'or pass another WebRTC engine in the option "rtc".',
      { cause },
    )
  }
}
