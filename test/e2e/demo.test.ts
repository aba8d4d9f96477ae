import { expect, test } from 'vitest'
import { openEmbedded } from '../demo/demo-stack.ts'
import { runDemo } from '../demo/demo.ts'
import { isComplete } from '../torture/ledger-trial.ts'
import { isFlawless } from '../torture/verdict.ts'

test('the demo publishes every webhook, all of them arrive, and each is recorded once', async () => {
  const said: string[] = []
  const say = (text: string): void => {
    said.push(text)
  }
  const options = { edition: 'source', rounds: 2, perSecond: 500, say } as const
  const { verdict, ledger, publishers } = await runDemo(openEmbedded, options)
  expect(verdict).toMatchObject({ answered: 2 * 726, delivered: 2 * 726 })
  expect(isFlawless(verdict)).toBe(true)
  expect(isComplete(ledger)).toBe(true)
  expect(ledger.log.recorded).toBeGreaterThanOrEqual(2 * 726)
  expect(publishers.outageTimes.count).toBeGreaterThan(100)
  expect(said.join('\n')).toMatch(/broker and ledger go away[^]*killed with SIGKILL[^]*Broker and ledger come back/)
})
