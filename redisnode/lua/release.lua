-- ARGV: 2 owner, or '~' and a waiter who gives its place up, 3 tombstone_ms ('' for none:
-- the release comes behind all that the owner asked for), 4 what the channels of waiters
-- begin with, 5 whether to call the waiter ('1' or ''), 6 where in the fences its counter
-- is
--
-- The order matters when memory is short: a script that has begun to write may
-- go on, so the lock is freed and set aside even where a lone tombstone would be refused.
local owner = ARGV[2]
local fence = ARGV[3] ~= '' and redis.pcall('HGET', KEYS[1], owner)
local freed = type(fence) == 'table' and fence or redis.pcall('HDEL', KEYS[1], owner)
if type(freed) == 'table' then
  local value, start = redis.pcall('GET', KEYS[1]), owner .. ':'
  if type(value) == 'table' and not string.find(freed.err, 'WRONGTYPE', 1, true) then
    return redis.error_reply(freed.err) -- it may be the owner's, and we may not look
  end
  freed = 0
  if type(value) == 'string' and string.sub(value, 1, #start) == start then
    freed, fence = redis.call('DEL', KEYS[1]), string.match(value, '^[^:]+:(%d+):0:')
  end
end
if freed == 1 then
  -- The next in the queue has the key set aside for it for a while. One whose
  -- process has hung up is passed over. Calls are hints: a user that may not
  -- publish releases all the same.
  local place = redis.pcall('ZPOPMIN', KEYS[3])[1]
  while place do
    local waiter, channel, heard = string.sub(place, 1, 32), string.sub(place, 33, 45), 1
    local hold_ms, dump_at = string.match(place, '^(%d+);()', 46)
    if not hold_ms then
      break
    end
    if ARGV[5] ~= '' then
      heard = redis.pcall('PUBLISH', ARGV[4] .. channel, waiter .. KEYS[1])
    end
    if type(heard) == 'number' and heard > 0 then
      local set = dump_at <= #place and redis.pcall('RESTORE', KEYS[1], hold_ms, string.sub(place, dump_at))
      if not set or set.err then
        redis.pcall('SET', KEYS[1], '~' .. waiter .. ':0:0:0', 'PX', hold_ms)
      end
      break
    end
    place = redis.pcall('ZPOPMIN', KEYS[3])[1]
  end
  -- A native acquire raises the counter a moment after it has the key, and who releases
  -- that by force may come between: then no fence below its own may follow.
  fence = type(fence) == 'string' and string.match(fence, '^%d+')
  if fence then
    local bit, next = string.format('%d', ARGV[6] * 8 + 10), string.format('%d', fence + 1)
    redis.call('BITFIELD', KEYS[2], 'OVERFLOW', 'SAT', 'INCRBY', 'u54', bit, '-' .. next, 'INCRBY', 'u54', bit, next)
  end
elseif string.find(owner, '^~%x+$') then
  forget(string.sub(owner, 2))
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[4], '', 'PX', ARGV[3])
end
return 1
