-- ARGV: 3 owner, 4 ttl_ms, 5 hint, 6 whether the owner may have released before
-- ('1'), or not (''), or holds the lock by a native grant whose fence is not above the
-- counter and shall be this hint instead ('settle'), or shall be found ('count'),
-- 7 waiter, 8 since when it has waited, if it wants a place in the queue (or ''), 9 the
-- place, 10 for how long in milliseconds a queue is kept
local owner, ttl_ms, waiter = ARGV[3], tonumber(ARGV[4]), ARGV[7]
read_lock()

-- A lock that lasts longer already goes on to.
local function write_lock(fence, counter)
  local ends = clock() + ttl_ms * 1000
  if is_of(owner) and lock_end() >= ends then
    redis.call('SET', KEYS[1], value_of(owner, fence, counter, lock.ends), 'KEEPTTL')
  else
    redis.call('SET', KEYS[1], value_of(owner, fence, counter, text_of(ends)), 'PX', ARGV[4])
  end
end

local settle = ARGV[6] == 'settle' or ARGV[6] == 'count'
-- An owner that asks again for what it was granted natively was not told of that, and
-- perhaps its fence was never counted.
settle = settle or ARGV[6] == '1' and is_of(owner) and lock.counter == 0
if is_of(owner) and not settle then
  if lock_end() < clock() + ttl_ms * 1000 then
    write_lock(lock.fence, lock.counter)
  end
  local counter = read_counter()
  raise_counter(counter) -- in case it was evicted
  if waiter ~= '' then
    forget(waiter)
  end
  return yes(lock.fence, counter)
end

local mine = lock and (settle and is_of(owner) or lock.set_aside and lock.owner == '~' .. waiter) or false
local wants_place = ARGV[8] ~= ''
-- Who wins, or most likely will, waits no more. What was set aside took the place with it,
-- unless the call has just made another one.
if waiter ~= '' and (not lock or mine == wants_place) then
  forget(waiter)
end
if lock and not mine then
  local foreign = lock.fence == 0 and not lock.set_aside
  if not wants_place or foreign or type(redis.pcall('ZADD', KEYS[3], 'NX', ARGV[8], ARGV[9])) == 'table' then
    return no(0)
  end
  redis.call('PEXPIRE', KEYS[3], ARGV[10])
  if lock.native and not lock.set_aside then
    -- Its owner shall find that it takes a script to release it, which calls the waiter.
    lock_end()
    redis.call('SET', KEYS[1], value_of(lock.owner, lock.fence, 0, lock.ends), 'KEEPTTL')
  end
  return no(1)
end
-- What was to be settled and is gone was released by force, perhaps.
if (ARGV[6] == '1' or settle and not lock) and redis.call('EXISTS', KEYS[4]) == 1 then
  return no(0)
end

local fence = math.max(1, tonumber(ARGV[5]))
if not (lock and ARGV[6] == 'settle') then
  fence = math.min(fence, clock() + horizon_us)
  if lock and not settle then
    fence = math.max(fence, math.max(lock.fence, lock.counter) + 1) -- in case the counters were evicted
  end
  fence = give_fence(fence)
end
if fence > max_fence then
  return redis.error_reply('FENCES the fences of this key are used up')
end
write_lock(fence, fence)
return yes(fence, fence)
