import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { ExportOptions } from '../../src/cli/journal-export.ts'
import { exportJournal } from '../../src/cli/journal-export.ts'
import type { JournalTools } from '../../src/cli/journal-folder.ts'
import { verifyJournal } from '../../src/cli/journal-verify.ts'
import { decodeDeadLetter } from '../../src/forwarder/dead-letters.ts'
import { Journal } from '../../src/journal/journal.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { messageCodec } from '../../src/message/message-codec.ts'
import type { Message } from '../../src/message/message.ts'
import { openKeyRing } from '../../src/security/configured-key-ring.ts'
import { filesBelow } from './data-directory.ts'
import { TextOutput } from './text-output.ts'
import { plainMessage } from '../message/plain-message.ts'

const golden = join(import.meta.dirname, '..', 'journal', 'golden')
export const goldenPath = (name: string): string => join(golden, name)

/** The key that the encrypted golden directories are encrypted with. */
export function goldenKeys(): KeyRing | null {
  return openKeyRing({ keysFile: goldenPath('v1-encrypted.keys'), acceptUnencrypted: false }, systemClock)
}

export function toolsWith(keys: KeyRing | null = null): JournalTools {
  return { disk: nodeDisk, clock: systemClock, keys }
}

/** A folder of its own for a test, which goes with it. */
export async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'outrigger-journal-tools-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A copy of a golden directory that a test may break. */
export async function goldenCopy(name: string): Promise<string> {
  const path = join(await scratch(), 'data')
  await cp(goldenPath(name), path, { recursive: true })
  return path
}

export interface Exported {
  readonly code: number
  readonly text: string
  readonly lines: readonly Record<string, unknown>[]
  readonly err: string
}

export async function exported(
  directory: string,
  options: Partial<ExportOptions> = {},
  keys: KeyRing | null = null,
): Promise<Exported> {
  const chunks: Buffer[] = []
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      done()
    },
  })
  const err = new TextOutput()
  const all = { records: undefined, raw: false, unfinished: false, to: undefined, ...options }
  const { signal } = new AbortController()
  const code = await exportJournal(toolsWith(keys), directory, all, decodeDeadLetter, output, err, signal)
  const text = Buffer.concat(chunks).toString()
  const lines = text.split('\n').slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
  return { code, text, lines, err: err.text }
}

export async function verified(
  directory: string,
  keys: KeyRing | null = null,
): Promise<{ readonly code: number; readonly lines: readonly Record<string, unknown>[] }> {
  const out = new TextOutput()
  const code = await verifyJournal(toolsWith(keys), directory, { json: true }, out)
  return { code, lines: out.text.split('\n').slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>) } // prettier-ignore
}

/** Every file below a directory with its bytes. */
export async function contents(directory: string): Promise<Record<string, string>> {
  const files = await filesBelow(directory)
  const bytes = await Promise.all(files.map((file) => readFile(join(directory, file), 'latin1')))
  return Object.fromEntries(files.map((file, i) => [file, bytes[i] as string]))
}

/** Changes bytes of a file in place. */
export async function edit(path: string, change: (bytes: Buffer) => Buffer | void): Promise<void> {
  const bytes = await readFile(path)
  await writeFile(path, change(bytes) ?? bytes)
}

export async function segmentsOf(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.segment')).toSorted()
}

export function openMessages(directory: string, segmentBytes = 12 * 1024): Promise<Journal<Message>> {
  const options = { directory, bytesMax: 1e9, segmentBytes }
  return Journal.open(nodeDisk, systemClock, messageCodec, { committed() {}, failed() {} }, options)
}

export function textMessage(topic: string, value: string, more: Partial<Message> = {}): Message {
  return plainMessage({ topic, value, ...more })
}
