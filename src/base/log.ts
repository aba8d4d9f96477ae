import { pino } from 'pino'
import { systemClock } from './clock.ts'
import type { LineSink } from './log-output.ts'
import { LogOutput, openLogTarget } from './log-output.ts'

/** What every part logs with; objects are fields of the line. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** JSON lines, to a sink or a descriptor. Errors under `error` are given with their type, message, stack and causes. */
export function makeLog(level: LogLevel, fields: object, sink: LineSink | number): Log {
  if (typeof sink === 'number') return openLog(level, fields, sink).log
  return pino(
    {
      level,
      base: fields,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    sink,
  )
}

/** A log on a descriptor, and its output, to be flushed before the process ends. */
export function openLog(
  level: LogLevel,
  fields: object,
  descriptor: number,
): { readonly log: Log; readonly output: LogOutput } {
  const output = new LogOutput(openLogTarget(descriptor), systemClock, (lines) =>
    // At this level, so that no setting hides it.
    log.error({ lines }, 'lines of the log were lost before this one: nobody read them in time, or the disk was full'),
  )
  const log = makeLog(level, fields, output)
  return { log, output }
}

/** For tests and for the command line, which speak for themselves. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
