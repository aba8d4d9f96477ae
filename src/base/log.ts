import { pino } from 'pino'

/** What every part logs with; objects are fields of the line. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/**
 * JSON lines on stdout (or another descriptor), written at once: nothing is lost when the process ends, from whichever thread it comes.
 * Errors under `error` are given with their type, message, stack and causes.
 */
export function makeLog(level: LogLevel, fields: object, descriptor = 1): Log {
  return pino(
    {
      level,
      base: fields,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    pino.destination({ dest: descriptor, sync: true }),
  )
}

/** For tests and for the command line, which speak for themselves. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
