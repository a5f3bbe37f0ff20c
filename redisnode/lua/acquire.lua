-- ARGV: 2 owner, 3 ttl_ms, 4 hint, 5 horizon_us, 6 max_fence, 7 retention_ms
local owner, ttl_ms, retention_ms = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[7])
local holder, fence = read_lock()
local counter = read_counter(fence)

if holder == owner and fence > 0 then
  raise_expiry(ttl_ms)
  write_counter(counter, ttl_ms, retention_ms)
  return answer(1, owner, fence, 0, counter)
end
if holder or redis.call('EXISTS', KEYS[3]) == 1 then
  return refuse(holder, counter)
end

fence = math.max(counter + 1, math.min(tonumber(ARGV[4]), now + tonumber(ARGV[5])))
if fence > tonumber(ARGV[6]) then
  return redis.error_reply('FENCES the fences of this key are used up')
end
write_counter(fence, ttl_ms, retention_ms)
redis.call('SET', KEYS[1], owner .. ':' .. text_of(fence), 'PX', text_of(ttl_ms))
return answer(1, owner, fence, 0, fence)
