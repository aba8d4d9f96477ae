import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'

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

/** What the sub-commands do. Each resolves with the exit code. */
export interface Commands {
  run(options: { config: string | undefined }): Promise<number>
  checkConfig(file: string | undefined): Promise<number>
  printConfigSchema(): Promise<number>
  tail(options: { config: string | undefined }, tail: TailArguments): Promise<number>
  health(options: { config: string | undefined }): Promise<number>
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
    .description('Run the sidecar until SIGTERM or SIGINT; a second signal ends it at once.')
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
    .command('tail <TOPIC>')
    .description('Show the messages of a topic as they arrive at the broker.')
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
    .command('health')
    .description('Ask a running Outrigger whether it is ready, by its operator’s listener.')
    .addOption(configOption())
    .action(async (options: ConfigOption) => {
      exitCode = await commands.health(options)
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

function configOption(): Option {
  return new Option('-c, --config <FILE>', 'the configuration file (YAML); without it, OUTRIGGER_CONFIG, or defaults')
}

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1 on.')
  return value
}
