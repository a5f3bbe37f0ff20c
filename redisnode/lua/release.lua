-- ARGV: 2 owner, or '~' and a waiter who gives its place up, 3 tombstone_ms (''
-- for none), 4 what the channels of waiters begin with, 5 whether to call the
-- waiter ('1' or ''), 6 where in the fences its counter is
--
-- The order matters when memory is short: a script that has begun to write may
-- go on, so the lock is freed even where a lone tombstone would be refused.
local value = redis.pcall('GET', KEYS[1])
local start = ARGV[2] .. ':'
if type(value) == 'table' then
  local hash = redis.pcall('HGETALL', KEYS[1])
  if hash.err and not string.find(hash.err, 'WRONGTYPE', 1, true) then
    return redis.error_reply(hash.err) -- it may be the owner's, and we may not look
  end
  if #hash == 2 then
    value = hash[1] .. ':' .. hash[2] .. ':0:'
  end
end
if type(value) == 'string' and string.sub(value, 1, #start) == start then
  -- The next in the queue has the key set aside for it for a while. One whose
  -- process has hung up is passed over. Calls are hints: a user that may not
  -- publish releases all the same.
  local at, freed = string.find(value, '|', 1, true), false
  while at and not freed do
    local _, last, hold_ms, channel, waiter = string.find(value, '^|%d+;(%d+);(%w+);(%x+)', at)
    if not waiter then
      break
    end
    local heard = 1
    if ARGV[5] ~= '' then
      heard = redis.pcall('PUBLISH', ARGV[4] .. channel, waiter .. KEYS[1])
    end
    if type(heard) == 'number' and heard > 0 then
      local head = '~' .. waiter .. ':0:' .. string.match(value, '^[^:]+:%d+:(%d+)') .. ':0'
      -- A server without memory deletes all the same.
      local set = redis.pcall('SET', KEYS[1], head .. string.sub(value, last + 1), 'PX', hold_ms)
      freed = not set.err
      if not freed then
        break
      end
    end
    at = last + 1
  end
  if not freed then
    redis.call('DEL', KEYS[1])
  end
  -- A native acquire raises the counter a moment after it has the key, and who releases
  -- that by force may come between: then no fence below its own may follow.
  local fence = string.match(value, '^[^:]+:(%d+):0:')
  if fence then
    local bit, next = string.format('%d', ARGV[6] * 8 + 10), string.format('%d', fence + 1)
    redis.call('BITFIELD', KEYS[2], 'OVERFLOW', 'SAT', 'INCRBY', 'u54', bit, '-' .. next, 'INCRBY', 'u54', bit, next)
  end
elseif type(value) == 'string' and string.find(ARGV[2], '^~%x+$') then
  local rest, places = string.gsub(value, '|[^|]*;' .. string.sub(ARGV[2], 2), '')
  if places > 0 then
    redis.call('SET', KEYS[1], rest, 'KEEPTTL')
  end
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], '', 'PX', ARGV[3])
end
return 1
