-- ARGV: 2 owner, 3 tombstone_ms, 4 channel
--
-- The order matters when memory is short: a script that has begun to write may
-- go on, so the lock is freed even where a lone tombstone would be refused.
local value = redis.pcall('GET', KEYS[1])
local prefix = ARGV[2] .. ':'
if type(value) == 'string' and string.sub(value, 1, #prefix) == prefix then
  redis.call('DEL', KEYS[1])
  -- Only a hint, so a user that may not publish releases all the same.
  redis.pcall('PUBLISH', ARGV[4], ARGV[2])
end
redis.call('SET', KEYS[3], '', 'PX', ARGV[3])
return answer(1, '', 0, 0, 0)
