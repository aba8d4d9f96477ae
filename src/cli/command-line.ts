import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { MessagePosition } from '../message/message-id.ts'
import { parseMessageId } from '../message/message-id.ts'
import { isTopicName } from '../message/message.ts'
import { keyIdPattern } from '../security/key-list.ts'
import type { RecordKind } from './journal-folder.ts'
import { recordKinds } from './journal-folder.ts'
import type { PointInTime } from './point-in-time.ts'
import { readPointInTime } from './point-in-time.ts'

/** Where a sub-command prints; `process.stdout` and `process.stderr` fit. */
interface TextOutput {
  write(text: string): unknown
}

export interface TailArguments {
  readonly topic: string
  readonly from: 'beginning' | 'latest'
  readonly count: number | undefined
  readonly json: boolean
}

export interface LogArguments {
  readonly topic: string
  readonly since: PointInTime | undefined
  readonly key: string | undefined
  readonly follow: boolean
  readonly count: number | undefined
  readonly json: boolean
}

export interface ShowArguments extends MessagePosition {
  /** One JSON object, for programs. */
  readonly json: boolean
  /** The value too, from the message log. */
  readonly content: boolean
}

export interface LedgerArguments {
  readonly from: PointInTime | undefined
  readonly to: PointInTime | undefined
  /** All topics when there are none. */
  readonly topics: readonly string[]
}

export interface ExportArguments {
  readonly directory: string | undefined
  readonly records: RecordKind | undefined
  readonly raw: boolean
  readonly unfinished: boolean
  readonly to: string | undefined
}

export interface RepairArguments {
  readonly directory: string | undefined
  /** A new folder; undefined: in place. */
  readonly to: string | undefined
  readonly json: boolean
}

/** What the sub-commands do. Each resolves with the exit code. */
export interface Commands {
  run(options: { config: string | undefined }): Promise<number>
  checkConfig(file: string | undefined): Promise<number>
  printConfigSchema(): Promise<number>
  tail(options: { config: string | undefined }, tail: TailArguments): Promise<number>
  log(options: { config: string | undefined }, log: LogArguments): Promise<number>
  show(options: { config: string | undefined }, show: ShowArguments): Promise<number>
  migrate(options: { config: string | undefined }, migrate: { dryRun: boolean; json: boolean }): Promise<number>
  health(options: { config: string | undefined }): Promise<number>
  backup(options: { config: string | undefined }, directory: string): Promise<number>
  restore(options: { config: string | undefined }, directory: string): Promise<number>
  /** `to`: the new file that the key goes to; without it, it is printed. */
  generateKey(options: { id: string | undefined; to: string | undefined }): Promise<number>
  rotateKeys(file: string, options: { id: string | undefined }): Promise<number>
  listKeys(options: { config: string | undefined }, output: { json: boolean }): Promise<number>
  inspectJournal(
    options: { config: string | undefined },
    journal: { directory: string | undefined; json: boolean },
  ): Promise<number>
  verifyJournal(
    options: { config: string | undefined },
    journal: { directory: string | undefined; json: boolean },
  ): Promise<number>
  exportJournal(options: { config: string | undefined }, journal: ExportArguments): Promise<number>
  repairJournal(options: { config: string | undefined }, journal: RepairArguments): Promise<number>
  importJournal(
    options: { config: string | undefined },
    journal: { file: string; once: boolean; json: boolean },
  ): Promise<number>
  verifyLedger(
    options: { config: string | undefined },
    range: LedgerArguments,
    output: { json: boolean },
  ): Promise<number>
  backfillLedger(
    options: { config: string | undefined },
    range: LedgerArguments,
    output: { dryRun: boolean },
  ): Promise<number>
}

/** sysexits.h: the command line is wrong. */
const exitUsage = 64

/** Runs the sub-command that `args` name, and resolves with the exit code. Bad usage is explained, and is 64. */
export async function runCommandLine(
  args: readonly string[],
  version: string,
  commands: Commands,
  out: TextOutput,
  err: TextOutput,
): Promise<number> {
  let exitCode = 0
  const program = new Command('outrigger')
    .description('Takes messages by plain HTTP, keeps them on disk, and carries them to Kafka.')
    .exitOverride()
    .configureOutput({ writeOut: (text) => out.write(text), writeErr: (text) => err.write(text) })
    .showHelpAfterError('Run “outrigger help” for what there is.')
    .configureHelp({ showGlobalOptions: true })
    .helpCommand('help [COMMAND]', 'Tell what a command does.')
    .addHelpText('after', '\nExit codes: 0 fine, 1 failed, 64 the configuration or the command line is wrong.')

  program
    .command('run')
    .description('Run the sidecar until SIGTERM, SIGINT or SIGHUP; a second signal ends it at once.')
    .addOption(configOption())
    .action(async (options: ConfigOption) => {
      exitCode = await commands.run(options)
    })

  const config = program.command('config').description('Look at the configuration.')
  config
    .command('check [FILE]')
    .description('Check a configuration file together with the environment, and report every fault.')
    .action(async (file: string | undefined) => {
      exitCode = await commands.checkConfig(file)
    })
  config
    .command('schema')
    .description('Print the JSON Schema of the configuration file, for editors.')
    .action(async () => {
      exitCode = await commands.printConfigSchema()
    })

  program
    .command('tail')
    .description('Show the messages of a topic as they arrive at the broker.')
    .addArgument(topicArgument())
    .addOption(configOption())
    .addOption(
      new Option('--from <WHERE>', 'where to begin').choices(['beginning', 'latest']).default('latest', 'latest'),
    )
    .option('--count <N>', 'end after N messages', positiveInteger)
    .option('--json', 'print one JSON object a line')
    .action(
      async (topic: string, options: ConfigOption & Omit<TailArguments, 'topic' | 'json'> & { json?: boolean }) => {
        const { from, count, json = false } = options
        exitCode = await commands.tail(options, { topic, from, count, json })
      },
    )

  program
    .command('log')
    .description('Show the messages of a topic as the message log keeps them, oldest first.')
    .addArgument(topicArgument())
    .addOption(configOption())
    .option('--since <TIME>', 'only what was delivered since: 30m, 1h, 7d ago, or an RFC 3339 time', pointInTime)
    .option('--key <KEY>', 'only messages with this key')
    .option('--follow', 'go on with what comes, until SIGINT')
    .option('--count <N>', 'end after N messages', positiveInteger)
    .option('--json', 'print one JSON object a line')
    .action(async (topic: string, options: ConfigOption & Partial<Omit<LogArguments, 'topic'>>) => {
      const { since, key, follow = false, count, json = false } = options
      exitCode = await commands.log(options, { topic, since, key, follow, count, json })
    })

  program
    .command('show')
    .description('Tell all that is known of a message: of the running Outrigger, and of the ledger.')
    .addArgument(new Argument('<ID>', 'the id that its publisher got').argParser(messageId))
    .addOption(configOption())
    .option('--content', 'print the value too, from the message log')
    .option('--json', 'print one JSON object')
    .action(
      async (position: ReturnType<typeof messageId>, options: ConfigOption & { json?: boolean; content?: boolean }) => {
        const { json = false, content = false } = options
        exitCode = await commands.show(options, { ...position, json, content })
      },
    )

  program
    .command('migrate')
    .description('Bring the schemas of the ledger’s stores to the version that this program needs.')
    .addOption(configOption())
    .option('--dry-run', 'only tell what there is to do')
    .option('--json', 'print one JSON object')
    .action(async (options: ConfigOption & { dryRun?: boolean; json?: boolean }) => {
      const { dryRun = false, json = false } = options
      exitCode = await commands.migrate(options, { dryRun, json })
    })

  program
    .command('health')
    .description('Ask a running Outrigger whether it is ready, by its operator’s listener.')
    .addOption(configOption())
    .action(async (options: ConfigOption) => {
      exitCode = await commands.health(options)
    })

  program
    .command('backup <DIR>')
    .description('Copy the journal and all that belongs to it, of a running or stopped Outrigger, into a new folder.')
    .addOption(configOption())
    .action(async (directory: string, options: ConfigOption) => {
      exitCode = await commands.backup(options, directory)
    })
  program
    .command('restore <DIR>')
    .description('Bring a backup back into an empty data directory.')
    .addOption(configOption())
    .action(async (directory: string, options: ConfigOption) => {
      exitCode = await commands.restore(options, directory)
    })

  const keys = program.command('keys').description('Make and look after the keys that files are encrypted with.')
  keys
    .command('generate')
    .description('Make a new key, and print it as a line of a file of keys.')
    .addOption(keyIdOption())
    .option('--to <FILE>', 'write it to a new file that its owner alone may read, instead of printing it')
    .action(async ({ id, to }: { id?: string; to?: string }) => {
      exitCode = await commands.generateKey({ id, to })
    })
  keys
    .command('rotate <FILE>')
    .description('Put a new key, the active one from now on, before the others in a file of keys.')
    .addOption(keyIdOption())
    .action(async (file: string, { id }: { id?: string }) => {
      exitCode = await commands.rotateKeys(file, { id })
    })
  keys
    .command('list')
    .description('Tell which keys there are, and how much of the data directory needs each of them.')
    .addOption(configOption())
    .option('--json', 'print one JSON object')
    .action(async (options: ConfigOption & { json?: boolean }) => {
      exitCode = await commands.listKeys(options, { json: options.json ?? false })
    })

  const journal = program.command('journal').description('Look into the files of a journal, and repair them.')
  journalCommand(
    journal,
    'inspect [DIR]',
    'Show what the journals of a data directory consist of, and what is damaged.',
  )
    .option('--json', 'print one JSON object')
    .action(async (directory: string | undefined, options: ConfigOption & { json?: boolean }) => {
      exitCode = await commands.inspectJournal(options, { directory, json: options.json ?? false })
    })
  journalCommand(journal, 'verify [DIR]', 'Check every byte of the journals of a data directory, and name each fault.')
    .option('--json', 'print one JSON object a line')
    .action(async (directory: string | undefined, options: ConfigOption & { json?: boolean }) => {
      exitCode = await commands.verifyJournal(options, { directory, json: options.json ?? false })
    })
  journalCommand(journal, 'export [DIR]', 'Write all that is readable of a journal, one JSON object a line.')
    .option('--raw', 'the records as they are, in Base64: nothing of them is lost in between')
    .option('--unfinished', 'only messages that are neither delivered nor dead, as far as is known')
    .addOption(
      new Option('--records <KIND>', 'what they are; without it, as the folder is called').choices(recordKinds),
    )
    .option('--to <FILE>', 'a new file; without it, standard output')
    .action(
      async (directory: string | undefined, options: ConfigOption & Partial<Omit<ExportArguments, 'directory'>>) => {
        const { records, raw = false, unfinished = false, to } = options
        exitCode = await commands.exportJournal(options, { directory, records, raw, unfinished, to })
      },
    )
  const repair = journalCommand(journal, 'repair [DIR]', 'Bring what is readable of a journal into a whole one.')
    .option('--to <COPY>', 'a new folder for it; the original is left as it is')
    .addOption(
      new Option('--in-place', 'where it is, while no Outrigger runs; what was there goes to quarantine/').conflicts(
        'to',
      ),
    )
    .option('--json', 'print one JSON object')
  repair.action(
    async (
      directory: string | undefined,
      options: ConfigOption & { to?: string; inPlace?: boolean; json?: boolean },
    ) => {
      const { to, inPlace = false, json = false } = options
      if (to === undefined && !inPlace)
        repair.error('error: say where the repaired journal goes: --to COPY, or --in-place')
      exitCode = await commands.repairJournal(options, { directory, to, json })
    },
  )
  journalCommand(
    journal,
    'import <FILE>',
    'Append messages that were exported to the journal of a stopped Outrigger; - reads standard input.',
  )
    .option('--once', 'leave out what the journal holds already: for an import that was cut short')
    .option('--json', 'print one JSON object')
    .action(async (file: string, options: ConfigOption & { once?: boolean; json?: boolean }) => {
      const { once = false, json = false } = options
      exitCode = await commands.importJournal(options, { file, once, json })
    })

  const ledger = program.command('ledger').description('Look after the ledger.')
  ledgerCommand(ledger, 'verify', 'Compare the ledger with what the broker has, and name every difference.')
    .option('--json', 'print one JSON object a line')
    .action(async (options: LedgerOptions & { json?: boolean }) => {
      exitCode = await commands.verifyLedger(options, rangeOf(options), { json: options.json ?? false })
    })
  ledgerCommand(ledger, 'backfill', 'Write what the ledger misses, from what the broker has.')
    .option('--dry-run', 'tell what would be written, and write nothing')
    .action(async (options: LedgerOptions & { dryRun?: boolean }) => {
      exitCode = await commands.backfillLedger(options, rangeOf(options), { dryRun: options.dryRun ?? false })
    })

  program
    .command('version')
    .description('Print the version.')
    .action(() => {
      out.write(`outrigger ${version}\n`)
    })
  program.version(`outrigger ${version}`, '-V, --version', 'print the version')

  if (args.length === 0) {
    program.outputHelp()
    return 0
  }
  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // commander has printed its help, its version or what is wrong already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage
    throw error
  }
}

interface ConfigOption {
  readonly config: string | undefined
}

interface LedgerOptions extends ConfigOption {
  readonly from?: PointInTime
  readonly to?: PointInTime
  readonly topic?: string[]
}

function rangeOf({ from, to, topic = [] }: LedgerOptions): LedgerArguments {
  return { from, to, topics: topic }
}

function journalCommand(journal: Command, name: string, description: string): Command {
  return journal
    .command(name)
    .description(description)
    .addOption(configOption())
    .addHelpText(
      'after',
      '\nDIR is a data directory, or a folder with segments; without it, journal.directory.' +
        '\nExit codes: 0 fine, 1 something is damaged, 2 it could not be done, 64 the configuration or the command line is wrong.',
    )
}

function ledgerCommand(ledger: Command, name: string, description: string): Command {
  return ledger
    .command(name)
    .description(description)
    .addOption(configOption())
    .option(
      '--from <TIME>',
      'from when on: 1h, 7d ago, or an RFC 3339 time; without it, from the beginning',
      pointInTime,
    )
    .option('--to <TIME>', 'up to when; without it, 1m: what is newer may be on its way', pointInTime)
    .option('--topic <TOPIC...>', 'only these topics; without it, all that the broker shows')
}

function configOption(): Option {
  return new Option('-c, --config <FILE>', 'the configuration file (YAML); without it, OUTRIGGER_CONFIG, or defaults')
}

function keyIdOption(): Option {
  const option = new Option('--id <ID>', 'the key’s id; without it, today’s date and four random digits')
  return option.argParser(keyId)
}

function keyId(text: string): string {
  if (!keyIdPattern.test(text))
    throw new InvalidArgumentError('A key’s id has 1 to 40 of these characters: a-z A-Z 0-9 . _ -')
  return text
}

function topicArgument(): Argument {
  return new Argument('<TOPIC>', 'the topic’s name').argParser(topicName)
}

function topicName(text: string): string {
  if (!isTopicName(text))
    throw new InvalidArgumentError('A topic’s name has 1 to 249 of these characters: a-z A-Z 0-9 . _ -')
  return text
}

function pointInTime(text: string): PointInTime {
  const point = readPointInTime(text)
  if (point === null)
    throw new InvalidArgumentError('It is neither how long ago (30m, 1h, 7d) nor a time such as 2026-03-01T12:00:00Z.')
  return point
}

function messageId(text: string): MessagePosition {
  const position = parseMessageId(text)
  if (position === null) throw new InvalidArgumentError('It is not the id of a message, such as 0123456789abc-42.')
  return position
}

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1 on.')
  return value
}
