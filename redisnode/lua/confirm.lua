-- ARGV: 2 owner, 3 fence, 4 token, 5 retention_ms, 6 the owner in parts
read_lock()
if not stands(ARGV[2], ARGV[6], tonumber(ARGV[3])) then
  return no(0)
end
local token, counter = tonumber(ARGV[4]), read_counter()
if token > counter then
  raise_counter(token, math.max(0, lock_end() - clock()) / 1000, tonumber(ARGV[5]))
  redis.call('SET', KEYS[1], value_of(ARGV[2], lock.fence, token, lock.ends), 'KEEPTTL')
  counter = token
end
return yes(lock.fence, counter)
