-- ARGV: 2 owner, 3 fence, 4 token, 5 retention_ms
local holder, fence = read_lock()
local counter = read_counter(fence)

if fence == 0 or holder ~= ARGV[2] or fence ~= tonumber(ARGV[3]) then
  return refuse(holder, counter)
end
counter = math.max(counter, tonumber(ARGV[4]))
write_counter(counter, redis.call('PTTL', KEYS[1]), tonumber(ARGV[5]))
return answer(1, holder, fence, 0, counter)
