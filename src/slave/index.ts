/** `named-master/slave` */
export { NamedMasterError, type ErrorCode } from '../errors.js'
export type { EventInfo, Handler, Microstore, Mutator, Phase, StoreListener } from '../store/microstore.js'
export type { CallOptions } from './calls.js'
export { Slave, type ConnectOptions, type SlaveEvents, type SlaveOptions, type SlaveStatus } from './slave.js'
