/** The stores of the ledger, by what they keep; and with it the names of their recorders. */
export const storeNames = ['metadata', 'log'] as const
export type StoreName = (typeof storeNames)[number]
