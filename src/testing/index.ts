/** `named-master/testing`: the fault kit, for the tests of programs that use the package and for our own. */
export { chances, linkPair, type LinkPair, type LinkPairOptions, type MemoryOptions } from '../link/memory.js'
export { FaultyDisk, type DiskBatch, type DiskCopy, type DiskEvents, type DiskOptions } from './faulty-disk.js'
export { ManualClock } from './manual-clock.js'
export { createWorld, type World, type WorldOptions } from './world.js'
export type { WorldMaster } from './world-master.js'
export type { WorldSlave } from './world-slave.js'
