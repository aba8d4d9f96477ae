import { expect, test } from 'vitest'
import { TopicPatterns } from '../../src/intake/topic-patterns.ts'

test('topics are named, or by how their names begin', () => {
  const patterns = new TopicPatterns(['clicks', 'debug.*'])
  const has = (topic: string): boolean => patterns.has(topic)
  expect(['clicks', 'debug.', 'debug.a'].map(has)).toEqual([true, true, true])
  expect(['click', 'clicks2', 'debug', 'my.debug.a', ''].map(has)).toEqual([false, false, false, false, false])
  expect(new TopicPatterns(['*']).has('any')).toBe(true)
  expect(new TopicPatterns([]).has('any')).toBe(false)
})
