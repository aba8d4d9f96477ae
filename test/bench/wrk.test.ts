import { expect, test } from 'vitest'
import { wrkResult } from './wrk.ts'

const printed = (numbers: string): string => `Running 3s test @ http://127.0.0.1:1/topics/x\nresult ${numbers}\n`

test('what wrk found is read from the line that our script prints', () => {
  expect(wrkResult(printed('60000 3000000 1500 7250 0 0'))).toEqual({
    requests: 60000,
    seconds: 3,
    p50Ms: 1.5,
    p99Ms: 7.25,
  })
})

test.each([
  ['an answer is a refusal', '60000 3000000 1500 7250 1 0', '1 of 60000 requests were refused'],
  ['a connection breaks', '60000 3000000 1500 7250 0 2', '2 connections failed'],
  ['nothing was answered', '0 3000000 0 0 0 0', 'not one request was answered'],
])('a measurement fails when %s', (_, numbers, message) => {
  expect(() => wrkResult(printed(numbers))).toThrow(message)
})

test('a measurement fails when wrk says nothing', () => {
  expect(() => wrkResult('unable to connect')).toThrow('wrk printed no result')
})
