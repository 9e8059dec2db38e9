import { channelPair } from '#src/link/memory.js'
import { linkSuite } from '../suites/link.js'

linkSuite('in memory', () => Promise.resolve(channelPair()))
linkSuite('in memory with latency, jitter and a slow line', () =>
  Promise.resolve(channelPair({ latency: 2, jitter: 3, rate: 200e6, seed: 7 })),
)
