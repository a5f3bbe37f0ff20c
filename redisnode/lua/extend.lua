-- ARGV: 2 owner, 3 fence, 4 ttl_ms, 5 retention_ms, 6 the owner in parts
--
-- It leaves the counter alone unless the TTL is very long: that was kept for long
-- enough when it was written, and the lock knows it meanwhile.
read_lock()
if not stands(ARGV[2], ARGV[6], tonumber(ARGV[3])) then
  return no(0)
end
local ttl_ms = tonumber(ARGV[4])
local until_us = clock() + ttl_ms * 1000
if until_us > lock_end() then
  redis.call('SET', KEYS[1], value_of(ARGV[2], lock.fence, lock.counter, text_of(until_us)), 'PX', text_of(ttl_ms))
  if 2 * ttl_ms > tonumber(ARGV[5]) then
    redis.call('PEXPIRE', KEYS[2], text_of(2 * ttl_ms))
  end
end
return yes(lock.fence, math.max(lock.fence, lock.counter))
