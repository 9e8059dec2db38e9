/** `named-master/master` */
export { NamedMasterError, type ErrorCode } from '../errors.js'
export type { ForeignStore } from '../store/adopt.js'
export type { CallInfo, Method } from './methods.js'
export { Master, type MasterEvents, type MasterOptions, type MasterStatus } from './master.js'
export type { SlaveInfo } from './sessions.js'
export type { Durability } from './journal.js'
