import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { problemCodes } from '../../src/http/problem-codes.ts'
import { problemHeaders, problemJson } from '../../src/http/problem.ts'

describe('docs/errors.md', () => {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'errors.md'), 'utf8')
  const rows = text
    .split('\n')
    .filter((line) => /^\| `[a-z_]+` +\| \d/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()))

  test('has every code, in order, with its status and whether to retry, and no other', () => {
    const documented = rows.map(([, code, status, retry]) => [code, status, retry])
    const coded = Object.entries(problemCodes).map(([code, { status, retry }]) => [
      `\`${code}\``,
      String(status),
      retry ? 'yes' : 'no',
    ])
    expect(documented).toEqual(coded)
  })

  test('says of every code what it means and what to do', () => {
    for (const [, code, , , meaning = '', todo = ''] of rows)
      expect([code, meaning.length > 20, todo.length > 8]).toEqual([code, true, true])
  })
})

describe('a problem', () => {
  test('is RFC 9457 JSON, with what Outrigger adds', () => {
    expect(JSON.parse(problemJson({ code: 'journal_full', detail: 'No room.', retryAfter: 5 }))).toEqual({
      type: 'urn:outrigger:error:journal_full',
      title: 'The journal is full',
      status: 503,
      detail: 'No room.',
      code: 'journal_full',
      retry: true,
      retryAfter: 5,
    })
  })

  test('has the headers that belong to it', () => {
    const body = '{"é":1}'
    const headers = problemHeaders({ code: 'journal_full', detail: '', retryAfter: 5, allow: 'POST' }, body)
    expect(headers.join(' ')).toBe(
      'Content-Type application/problem+json Content-Length 8 Cache-Control no-store Retry-After 5 Allow POST',
    )
  })
})
