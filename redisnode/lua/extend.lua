-- ARGV: 2 owner, 3 fence, 4 ttl_ms, 5 retention_ms
local holder, fence = read_lock()
local counter = read_counter(fence)

if fence == 0 or holder ~= ARGV[2] or fence ~= tonumber(ARGV[3]) then
  return refuse(holder, counter)
end
write_counter(counter, raise_expiry(tonumber(ARGV[4])), tonumber(ARGV[5]))
return answer(1, holder, fence, 0, counter)
