#!/usr/bin/env node
/** The `named-master` command: reads what it was told, does it, and ends the process itself. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { NamedMasterError } from '../errors.js'
import { DEFAULT_LIMITS } from '../../nameserver/limits.js'
import { deleteName, listNames } from './names.js'
import { runNameServer } from './nameserver.js'
import { addOptions, OPTIONS, settingsOf, type OptionKey } from './options.js'

/** From dist/src/cli/. */
const packageFile = new URL('../../../package.json', import.meta.url)
const { version, description } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
  version: string
  description: string
}

const program = new Command('named-master').version(version).description(description)

const limits = Object.entries(DEFAULT_LIMITS).map(([key, value]) => `  ${key}=${value}`)
addOptions(program.command('nameserver').description('run a name server'), Object.keys(OPTIONS) as OptionKey[])
  .addHelpText('after', `\nA flag beats the environment, which beats the file. The limits:\n${limits.join('\n')}`)
  .action((_options, command: Command) => runNameServer(settingsOf(command)))

const names = addOptions(program.command('names').description('list the registered names'), ['data'])
names.action(() => listNames(folder()))
names
  .command('delete <name>')
  .description('free a name whose key is lost')
  .action((name: string) => deleteName(folder(), name))

function folder(): string {
  const { data } = settingsOf(names)
  if (data === false)
    throw new NamedMasterError('invalid-config', '--data: names in memory are not to be seen from here')
  return data
}

try {
  await program.parseAsync()
  // Explicitly: nothing that a library left open keeps a finished command alive.
  process.exit(0)
} catch (error) {
  // Of our own errors the sentence says what to do; of any other only the stack may tell.
  const text = error instanceof NamedMasterError ? error.message : error instanceof Error ? error.stack : String(error)
  process.stderr.write(`named-master: ${text}\n`)
  process.exit(1)
}
