-- Stands before common.lua in front of extend, for what most extends are, in fast mode: of
-- a lock that was taken without a script, which stays as it is, or of one that a script
-- wrote. The rest goes the long way.
if ARGV[1] == 'fast' then
  local owner, fence, ttl_ms = ARGV[3], ARGV[4], ARGV[5]
  local hash = redis.pcall('HGETALL', KEYS[1])
  if #hash == 2 and hash[1] == owner and (hash[2] == fence or string.sub(hash[2], 1, #fence + 1) == fence .. ':') then
    local longer = redis.pcall('PEXPIRE', KEYS[1], ttl_ms, 'GT') -- Redis 7.0 knows that, and no other has such locks
    if type(longer) == 'number' then
      local time = redis.call('TIME')
      return {1, tonumber(fence), tonumber(fence), time[1] * 1000000 + time[2]}
    end
  end
  local value = hash.err and redis.pcall('GET', KEYS[1])
  local start = owner .. ':' .. fence .. ':'
  if type(value) == 'string' and string.sub(value, 1, #start) == start then
    local counter, ends = string.match(value, '^(%d+):(%d+)$', #start + 1)
    if counter then
      local time = redis.call('TIME')
      local now = time[1] * 1000000 + time[2]
      local until_us = now + ttl_ms * 1000
      if until_us > tonumber(ends) then
        redis.call('SET', KEYS[1], start .. counter .. ':' .. string.format('%d', until_us), 'PX', ttl_ms)
      end
      return {1, tonumber(fence), math.max(tonumber(fence), tonumber(counter)), now}
    end
  end
end
