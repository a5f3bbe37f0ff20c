-- Stands before common.lua in front of extend, for what most extends are: of a
-- lock that a script wrote, in fast mode. The rest goes the long way.
if ARGV[1] == 'fast' then
  local value = redis.pcall('GET', KEYS[1])
  local start = ARGV[3] .. ':' .. ARGV[4] .. ':'
  local ttl_ms = tonumber(ARGV[5])
  if type(value) == 'string' and string.sub(value, 1, #start) == start then
    local _, last, counter, ends = string.find(value, '^(%d+):(%d+)', #start + 1)
    if counter then
      local time = redis.call('TIME')
      local now = time[1] * 1000000 + time[2]
      local fence, until_us = tonumber(ARGV[4]), now + ttl_ms * 1000
      if until_us > tonumber(ends) then
        redis.call('SET', KEYS[1], start .. counter .. ':' .. string.format('%d', until_us) .. string.sub(value, last + 1), 'PX', ARGV[5])
      end
      return {1, fence, math.max(fence, tonumber(counter)), now}
    end
  end
end
