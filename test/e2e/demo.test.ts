import { expect, test } from 'vitest'
import { openEmbedded } from '../demo/demo-broker.ts'
import { runDemo } from '../demo/demo.ts'
import { isFlawless } from '../torture/verdict.ts'

test('the demo publishes every webhook, and all of them arrive', async () => {
  const said: string[] = []
  const say = (text: string): void => {
    said.push(text)
  }
  const { verdict, publishers } = await runDemo(openEmbedded, { edition: 'source', rounds: 2, perSecond: 500, say })
  expect(verdict).toMatchObject({ answered: 2 * 726, delivered: 2 * 726 })
  expect(isFlawless(verdict)).toBe(true)
  expect(publishers.outageTimes.count).toBeGreaterThan(100)
  expect(said.join('\n')).toMatch(/the broker goes away[^]*killed with SIGKILL[^]*The broker comes back/)
})
