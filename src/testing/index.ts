/** `named-master/testing`: the fault kit, for the tests of programs that use the package and for our own. */
export { linkPair, type LinkPair, type LinkPairOptions, type MemoryOptions } from '../link/memory.js'
export { ManualClock } from './manual-clock.js'
