-- ARGV: 3 owner, 4 ttl_ms, 5 hint, 6 whether the owner may have released before
-- ('1'), or not (''), or holds the lock by a native grant whose fence is not above the
-- counter and shall be this hint instead ('settle'), or shall be found ('count'),
-- 7 waiter, 8 the place that it wants in the queue (or '')
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
  return yes(lock.fence, counter)
end

local mine = lock and (settle and is_of(owner) or lock.set_aside and lock.owner == '~' .. waiter)
if lock and not mine then
  local known = waiter ~= '' and lock.value and string.find(lock.value, waiter, lock.queue_at, true)
  if ARGV[8] == '' then
    if known then -- it will most likely win, and wait no more
      redis.call('SET', KEYS[1], (string.gsub(lock.value, '|[^|]*;' .. waiter, '')), 'KEEPTTL')
    end
    return no(0)
  end
  if known then
    return no(1)
  end
  if lock.fence == 0 and not lock.set_aside then
    return no(0) -- somebody's own data
  end
  local place = ARGV[8]
  if lock.native then
    lock_end()
    redis.call('SET', KEYS[1], value_of(lock.owner, lock.fence, 0, lock.ends, place), 'KEEPTTL')
    return no(1)
  end
  if #lock.value > 8000 then
    return no(0) -- whoever comes now asks now and then
  end
  -- First come, first served. Almost always the newest comes last, and its place is
  -- as long as the last one; or else it is shorter than 128.
  local since = tonumber(string.match(place, '^|(%d+)'))
  local last = string.match(lock.value, '^|(%d+)', -#place) or string.match(string.sub(lock.value, -128), '|(%d+)[^|]*$')
  if not last or tonumber(last) <= since then
    redis.call('APPEND', KEYS[1], place)
  else
    local before, behind = '', ''
    for entry, other in string.gmatch(string.sub(lock.value, lock.queue_at), '(|(%d+)[^|]*)') do
      if tonumber(other) <= since then before = before .. entry else behind = behind .. entry end
    end
    redis.call('SET', KEYS[1], value_of(lock.owner, lock.fence, lock.counter, lock.ends, before .. place .. behind), 'KEEPTTL')
  end
  return no(1)
end
-- What was to be settled and is gone was released by force, perhaps.
if (ARGV[6] == '1' or settle and not lock) and redis.call('EXISTS', KEYS[3]) == 1 then
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
