"""The replay of published baskets in the sample shop, and the laws that must hold after it.

record = await replay(platform.url("gateway"), baskets, in_flight=32)
await wait_ended(platform)
laws = check(record, await read_ledgers(platform), catalog)
"""
