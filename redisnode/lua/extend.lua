-- ARGV: 3 owner, 4 fence, 5 ttl_ms
read_lock()
if not stands(ARGV[3], tonumber(ARGV[4])) then
  return no(0)
end
local ttl_ms = tonumber(ARGV[5])
local until_us = clock() + ttl_ms * 1000
if until_us > lock_end() then
  redis.call('SET', KEYS[1], value_of(ARGV[3], lock.fence, lock.counter, text_of(until_us)), 'PX', text_of(ttl_ms))
end
return yes(lock.fence, math.max(lock.fence, lock.counter))
