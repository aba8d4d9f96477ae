import { isIP } from 'node:net'
import * as z from 'zod'
import type { ListenAddress } from '../base/listen-address.ts'
import { Secret } from '../base/secret.ts'
import { formatListenAddress, isHostName, readBrokerAddress, readContactPoint } from './listen-address.ts'
import { readMysqlUrl } from './mysql-url.ts'
import type { Reading } from './quantities.ts'
import { durationPattern, formatDuration, formatShare, formatSize } from './quantities.ts'
import { readDuration, readShare, readSize, sharePattern, sizePattern } from './quantities.ts'

/** What is known about one setting (or the items of a list) beside its zod type. */
export interface SettingInfo {
  readonly kind: 'size' | 'share' | 'duration' | 'integer' | 'flag' | 'text' | 'choice' | 'address' | 'host' | 'mode'
  /** What a value must look like, for faults and for the reference. */
  readonly expected: string
  readonly secret: boolean
  /** Whether a value that is refused is never shown, for it may hold a secret, though a valid one holds none. */
  readonly hidesRefused?: boolean
  /** A valid value as people would write it. */
  readonly sample: unknown
  /** The resolved value in the form in which people write it. */
  format(value: unknown): string | number | boolean
  /** What was probably meant by a value that is refused. */
  hint(given: unknown): string | undefined
  /** How the JSON Schema describes what people write, where the zod type can't say it. */
  readonly jsonSchema?: z.core.JSONSchema.BaseSchema
}

/** What is known about a list beside its zod type and its items' info. */
export interface ListInfo {
  readonly expected: string
}

export const settingInfos = z.registry<SettingInfo>()
export const listInfos = z.registry<ListInfo>()
/** For optional settings that follow other settings: what they are without a value, in Markdown for the reference. */
export const followedDefaults = z.registry<{ readonly written: string }>()

/** A setting whose default depends on other settings, which `written` tells. dependent-defaults.ts gives it. */
export function follows<T extends z.ZodType>(type: T, written: string): z.ZodOptional<T> {
  const optional = type.optional()
  followedDefaults.add(optional, { written })
  return optional
}

/** A size in bytes: `10MiB`, `64KB`, or a number of bytes. */
export function size(description: string, range: { min: number; max: number }): z.ZodType<number> {
  return read(description, inRange(readSize, range), {
    kind: 'size',
    sample: range.min,
    expected: `a size from ${formatSize(range.min)} to ${formatSize(range.max)}`,
    format: (value) => formatSize(value as number),
    jsonSchema: {
      anyOf: [
        { type: 'integer', minimum: range.min, maximum: range.max },
        { type: 'string', pattern: sizePattern },
      ],
    },
  })
}

/** A share of something, written in percent; from 0 to 1. */
export function share(description: string, range: { min: number; max: number }): z.ZodType<number> {
  return read(description, inRange(readShare, range), {
    kind: 'share',
    sample: formatShare(range.max),
    expected: `a share from ${formatShare(range.min)} to ${formatShare(range.max)}`,
    format: (value) => formatShare(value as number),
    jsonSchema: { type: 'string', pattern: sharePattern },
  })
}

/** A duration in milliseconds: `50ms`, `30s`, `5m`, `1h`, `7d`. 0 is taken only when `min` is 0. */
export function duration(description: string, range: { min: number; max: number }): z.ZodType<number> {
  const written = { type: 'string', pattern: durationPattern } as const
  const least = range.min === 0 ? '0' : formatDuration(range.min)
  return read(description, inRange(readDuration, range), {
    kind: 'duration',
    sample: formatDuration(range.min || 1),
    expected: `a duration from ${least} to ${formatDuration(range.max)}`,
    format: (value) => (value === 0 ? 0 : formatDuration(value as number)),
    jsonSchema: range.min === 0 ? { anyOf: [written, { const: 0 }] } : written,
  })
}

/** A whole number. */
export function integer(description: string, range: { min: number; max: number }): z.ZodType<number> {
  return z
    .int()
    .min(range.min)
    .max(range.max)
    .meta({ description })
    .register(settingInfos, {
      kind: 'integer',
      sample: range.min,
      expected: `a whole number from ${range.min} to ${range.max}`,
      secret: false,
      format: (value) => value as number,
      hint: (given) => (typeof given === 'string' && /^[0-9]+$/.test(given) ? 'write it without quotes' : undefined),
    })
}

/** `true` or `false`. */
export function flag(description: string): z.ZodBoolean {
  const type = z.boolean().meta({ description })
  type.register(settingInfos, {
    kind: 'flag',
    sample: true,
    expected: 'true or false',
    secret: false,
    format: (value) => value as boolean,
    hint: (given) => {
      if (typeof given !== 'string') return undefined
      const word = given.toLowerCase()
      if (['true', 'yes', 'on'].includes(word)) return 'write true, without quotes'
      return ['false', 'no', 'off'].includes(word) ? 'write false, without quotes' : undefined
    },
  })
  return type
}

/** One of several words. */
export function choice<const T extends readonly string[]>(
  description: string,
  words: T,
): z.ZodType<T[number], T[number]> {
  const type = z.enum(words).meta({ description })
  type.register(settingInfos, {
    kind: 'choice',
    sample: words[0],
    expected: `one of ${words.join(', ')}`,
    secret: false,
    format: (value) => value as string,
    hint: (given) => {
      if (typeof given !== 'string') return undefined
      const meant = words.find((word) => word.toLowerCase() === given.toLowerCase().replaceAll('_', '-'))
      return meant && meant !== given ? `did you mean ${meant}?` : undefined
    },
  })
  return type
}

/** A text that is not empty. */
export function text(description: string, expected: string, lengthMax = 1024): z.ZodType<string, string> {
  return z
    .string()
    .min(1)
    .max(lengthMax)
    .meta({ description })
    .register(settingInfos, {
      kind: 'text',
      sample: 'example',
      expected,
      secret: false,
      format: (value) => value as string,
      hint: quotesHint,
    })
}

/** A path of the file system. */
export function path(description: string, expected = 'a path'): z.ZodType<string, string> {
  const type = z
    .string()
    .min(1)
    .max(4096)
    .refine((value) => !value.includes('\0'))
  return type.meta({ description }).register(settingInfos, {
    kind: 'text',
    sample: 'example',
    expected,
    secret: false,
    format: (value) => value as string,
    hint: quotesHint,
  })
}

/** A text that is never shown. */
export function secret(description: string, expected: string): z.ZodType<Secret> {
  const readSecret = (input: unknown): Reading<Secret> =>
    typeof input === 'string' && input !== '' ? { ok: true, value: new Secret(input) } : { ok: false }
  const type = read(description, readSecret, {
    kind: 'text',
    sample: 'example',
    expected,
    secret: true,
    format: String,
    hint: quotesHint,
    jsonSchema: { type: 'string', minLength: 1 },
  })
  return type
}

/** Where a listener binds, read by `reader`. */
export function listenAddress(
  description: string,
  reader: (input: unknown) => Reading<ListenAddress>,
  expected: string,
): z.ZodType<ListenAddress> {
  return read(description, reader, {
    kind: 'address',
    sample: '127.0.0.1:0',
    expected,
    format: (value) => formatListenAddress(value as ListenAddress),
    jsonSchema: { type: 'string', pattern: '^unix:.+$|^.+:[0-9]{1,5}$' },
  })
}

/** A broker's `HOST:PORT` or `[IPV6]:PORT`. */
export function brokerAddress(description: string): z.ZodType<string> {
  return serverAddress(description, readBrokerAddress, 'localhost:9092')
}

/** A Cassandra node's `HOST:PORT` or `[IPV6]:PORT`. */
export function contactPoint(description: string): z.ZodType<string> {
  return serverAddress(description, readContactPoint, 'localhost:9042')
}

function serverAddress(
  description: string,
  reader: (input: unknown) => Reading<string>,
  sample: string,
): z.ZodType<string> {
  return read(description, reader, {
    kind: 'host',
    expected: 'HOST:PORT or [IPV6]:PORT',
    sample,
    format: (value) => value as string,
    jsonSchema: { type: 'string', pattern: '^([^:/]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$' },
  })
}

/** A database's URL without a password. What is refused may hold one, and is never shown. */
export function mysqlUrl(description: string): z.ZodType<string> {
  return read(description, readMysqlUrl, {
    kind: 'address',
    expected: 'mysql://USER@HOST:PORT/DATABASE',
    sample: 'mysql://user@localhost:3306/database',
    hidesRefused: true,
    format: (value) => value as string,
    jsonSchema: { type: 'string', pattern: '^mysql://[^:/?#@]+@[^/?#@]+/[^/?#]+$' },
  })
}

/** A name that stands in statements: letters, digits and underscores, a letter first. */
export function identifier(description: string, { lengthMax }: { lengthMax: number }): z.ZodType<string, string> {
  const type = z
    .string()
    .max(lengthMax)
    .regex(/^[A-Za-z][A-Za-z0-9_]*$/)
    .meta({ description })
  return type.register(settingInfos, {
    kind: 'text',
    sample: 'example',
    expected: `at most ${lengthMax} letters, digits and underscores, a letter first`,
    secret: false,
    format: (value) => value as string,
    hint: quotesHint,
  })
}

/** A host's name or IP address, without a port and brackets, in lower case. */
export function hostName(description: string): z.ZodType<string> {
  const readHost = (input: unknown): Reading<string> => {
    if (typeof input !== 'string') return { ok: false }
    if (isHostName(input) || isIP(input) !== 0) return { ok: true, value: input.toLowerCase() }
    const port = /^(.+):[0-9]+$/.exec(input)
    return port ? { ok: false, hint: `leave the port out: ${port[1]}` } : { ok: false }
  }
  return read(description, readHost, {
    kind: 'host',
    expected: 'a host name or IP address without a port',
    sample: 'localhost',
    format: (value) => value as string,
    jsonSchema: { type: 'string', minLength: 1 },
  })
}

/** A topic's name, or the beginning of names with a star behind it. */
export function topicPattern(description: string): z.ZodType<string> {
  const type = z
    .string()
    .regex(/^[A-Za-z0-9._-]{0,249}\*?$/)
    .min(1)
    .meta({ description })
  return type.register(settingInfos, {
    kind: 'text',
    sample: 'example',
    expected: 'a topic name, or its beginning and a star, such as "debug.*"',
    secret: false,
    format: (value) => value as string,
    hint: quotesHint,
  })
}

/** A file's permission bits, written in octal. */
export function fileMode(description: string): z.ZodType<number> {
  const readMode = (input: unknown): Reading<number> => {
    // 0660 without quotes is the decimal number 660 to YAML 1.2 and 432 to YAML 1.1: refused, never guessed.
    if (typeof input === 'number') return { ok: false, hint: 'write it in quotes, such as "0660"' }
    if (typeof input !== 'string' || !/^0?[0-7]{3}$/.test(input)) return { ok: false }
    return { ok: true, value: Number.parseInt(input, 8) }
  }
  return read(description, readMode, {
    kind: 'mode',
    sample: '0600',
    expected: 'three octal digits in quotes, such as "0660"',
    format: (value) => (value as number).toString(8).padStart(4, '0'),
    jsonSchema: { type: 'string', pattern: '^0?[0-7]{3}$' },
  })
}

/** A list of settings of one kind. */
export function list<T>(
  description: string,
  item: z.ZodType<T>,
  count: { min: number; max: number; what: string },
): z.ZodArray<z.ZodType<T>> {
  const type = z.array(item).min(count.min).max(count.max).meta({ description })
  const many = count.min === 0 ? `at most ${count.max}` : `${count.min} to ${count.max}`
  return type.register(listInfos, { expected: `a list of ${many} ${count.what}` })
}

function quotesHint(given: unknown): string | undefined {
  return typeof given === 'number' || typeof given === 'boolean' ? 'write it in quotes' : undefined
}

function inRange(
  reader: (input: unknown) => Reading<number>,
  range: { min: number; max: number },
): (input: unknown) => Reading<number> {
  return (input) => {
    const reading = reader(input)
    if (!reading.ok) return reading
    return reading.value >= range.min && reading.value <= range.max ? reading : { ok: false }
  }
}

/** A setting that `reader` reads. */
export function read<T>(
  description: string,
  reader: (input: unknown) => Reading<T>,
  info: Omit<SettingInfo, 'hint' | 'secret'> & { readonly secret?: boolean; hint?: SettingInfo['hint'] },
): z.ZodType<T> {
  const type = z
    .unknown()
    .transform((input, context): T => {
      const reading = reader(input)
      if (reading.ok) return reading.value
      context.addIssue({ code: 'custom' })
      return z.NEVER
    })
    .meta({ description })
  const hint = (given: unknown): string | undefined => {
    const reading = reader(given)
    return reading.ok ? undefined : reading.hint
  }
  type.register(settingInfos, { secret: false, hint, ...info })
  return type
}
