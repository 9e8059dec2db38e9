/**
 * The one thing outside of the language that the store's room may use: it tells of a listener that threw where nobody
 * else was asked to. Read by this folder's tsconfig only; all others know the real console.
 */
declare const console: Readonly<Record<'warn' | 'error', (...what: readonly unknown[]) => void>>
