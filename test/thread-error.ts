import { OutriggerError } from '../src/base/errors.ts'

export class HintedError extends OutriggerError {
  override readonly name = 'HintedError'
  override readonly code = 'hinted'
}
