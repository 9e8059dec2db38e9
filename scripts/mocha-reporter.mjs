/**
 * Mocha's spec reporter, and three things more: the counts go to the process that started this one (scripts/test.mjs);
 * a rejection that nobody handled fails the test it happened in; and a process that does not end by itself after the
 * last test is ended as a failure, with the names of what kept it alive.
 */
import Mocha from 'mocha'

/** Closing sockets, databases and native connections takes far less; what is still there after this was leaked. */
const LEAK_SECONDS = 30

export default class SpecWithCounts extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    process.on('unhandledRejection', (reason) => {
      throw reason
    })
    runner.once('end', () => {
      const { passes, failures } = runner.stats
      process.send?.({ passed: passes, failed: failures })
      // From here on nobody but Node sees what is thrown, and mocha would overwrite Node's exit code.
      process.on('uncaughtExceptionMonitor', (error) => fail(`the tests passed, and then this was thrown: ${error}`))
      setTimeout(reportLeak, LEAK_SECONDS * 1000).unref()
    })
  }
}

/** What is open keeps an application alive too. */
function reportLeak() {
  const counts = new Map()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  const list = [...counts].map(([kind, count]) => (count === 1 ? kind : `${kind} x${count}`)).join(', ')
  fail(
    `the tests were over for ${LEAK_SECONDS} s, and the process did not end; still open: ${list || 'what has no name'}`,
  )
  process.exit()
}

/** The sentence goes to scripts/test.mjs. Mocha sets the exit code while the process exits: this listener comes after it. */
function fail(fault) {
  process.send?.({ fault })
  process.on('exit', () => (process.exitCode = 1))
}
