#!/usr/bin/env node
/** The `named-master` command: reads what it was told, does it, and ends the process itself. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { NamedMasterError } from '../errors.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import { DEFAULT_LIMITS } from '../../nameserver/limits.js'
import { runDoctor } from './doctor.js'
import { deleteName, listNames } from './names.js'
import { runNameServer } from './nameserver.js'
import { addOptions, DOCTOR_KEYS, NAME_SERVER_KEYS, settingsOf } from './options.js'
import { Report } from './report.js'

/** Of the doctor; everything else that fails ends with 1 as well. */
const EXIT_FAILED = 1
const EXIT_WRONG_USAGE = 2

/** From dist/src/cli/. */
const packageFile = new URL('../../../package.json', import.meta.url)
const { version, description } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
  version: string
  description: string
}

const DOCTOR_HELP = `
It asks the name server, each STUN and TURN server that it hands out, and those of your own turn.config.json. Given a
name, it looks for a path to the master of that name, and for one through a relay. It goes as far as an open channel
and a ping: no session begins, and the master's program is told nothing.

Exit code: 0 when nothing failed (warnings may be there), 1 when something did, 2 when it was called wrongly.

Examples:
  named-master doctor
  named-master doctor garage --name-server https://names.example.org
  named-master doctor --turn turn.config.json --timeout 3 --json`

const program = new Command('named-master').version(version).description(description)

const limits = Object.entries(DEFAULT_LIMITS).map(([key, value]) => `  ${key}=${value}`)
addOptions(program.command('nameserver').description('run a name server'), NAME_SERVER_KEYS)
  .addHelpText('after', `\nA flag beats the environment, which beats the file. The limits:\n${limits.join('\n')}`)
  .action((_options, command: Command) => runNameServer(settingsOf(command, NAME_SERVER_KEYS)))

const names = addOptions(program.command('names').description('list the registered names'), ['data'])
names.action(() => listNames(folder()))
names
  .command('delete <name>')
  .description('free a name whose key is lost')
  .action((name: string) => deleteName(folder(), name))

addOptions(
  program.command('doctor [name]').description('check a configuration for real, and say what is wrong'),
  DOCTOR_KEYS,
)
  .addHelpText('after', DOCTOR_HELP)
  .exitOverride()
  .action(async (asked: string | undefined, _options, command: Command) => {
    // Until it is clear what is asked.
    process.exitCode = EXIT_WRONG_USAGE
    const { nameServer, turn, timeout, json } = settingsOf(command, DOCTOR_KEYS)
    const name = asked === undefined ? undefined : normalizeName(asked)
    if (name === undefined && asked !== undefined) throw new NamedMasterError('invalid-name', NAME_RULE)
    process.exitCode = EXIT_FAILED
    const report = new Report(process.stdout, { json, noColours: (process.env['NO_COLOR'] ?? '') !== '' })
    await runDoctor({ name, nameServer, turn, timeout: timeout * 1000 }, report)
    if (!report.failed) process.exitCode = 0
  })

function folder(): string {
  const { data } = settingsOf(names, ['data'])
  if (data === false)
    throw new NamedMasterError('invalid-config', '--data: names in memory are not to be seen from here')
  return data
}

try {
  await program.parseAsync()
  // Explicitly: nothing that a library left open keeps a finished command alive.
  process.exit()
} catch (error) {
  // Only the doctor's, and said already.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT_WRONG_USAGE)
  // Of our own errors the sentence says what to do; of any other only the stack may tell.
  const text = error instanceof NamedMasterError ? error.message : error instanceof Error ? error.stack : String(error)
  process.stderr.write(`named-master: ${text}\n`)
  process.exit(process.exitCode ?? EXIT_FAILED)
}
