local holder, fence = read_lock()
local counter = read_counter(fence)
if not holder then
  return answer(0, '', 0, 0, counter)
end
return answer(1, holder, fence, redis.call('PTTL', KEYS[1]), counter)
