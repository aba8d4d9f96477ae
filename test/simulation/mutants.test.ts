import { expect, test } from 'vitest'
import { simulateMutant } from './mutation.ts'
import { mutants } from './mutants.ts'

/** So many histories a mutant may live through. */
const historiesMax = 4000

const named = mutants.map((mutant) => [mutant.name, mutant] as const)

// The checker is itself checked: a bug that it does not see here is one that it would not see in the journal either.
test.concurrent.for(named)('it sees a journal that %s', { timeout: 60_000 }, async ([, mutant], { signal }) => {
  const end = await simulateMutant(mutant, historiesMax, signal)
  const told = `${end.histories} histories, by seed ${end.seed}: ${end.violation}`
  expect(end.violation, `it lived through ${historiesMax} histories\n${end.output}`).not.toBe('')
  console.log(`a journal that ${mutant.name} is seen after ${told}`)
})

test(
  'it sees nothing in the journal as it is, so that it was the bugs that it saw',
  { timeout: 60_000 },
  async ({ signal }) => {
    const { output } = await simulateMutant({ name: 'none', edits: [] }, 300, signal)
    expect(output).toContain('kept every promise')
  },
)
