-- Stands before common.lua in front of acquire, for what most acquires of a contended key
-- are, in fast mode: a waiter takes what is set aside for it, or a place behind the last
-- one. The rest goes the long way.
if ARGV[1] == 'fast' and ARGV[6] == '' and ARGV[7] ~= '' then
  local owner, hint, waiter, place = ARGV[3], ARGV[5], ARGV[7], ARGV[8]
  local value = redis.pcall('GET', KEYS[1])
  local start = '~' .. waiter .. ':0:'
  if type(value) ~= 'string' then
    -- It is free, or was locked without a script.
  elseif string.sub(value, 1, #start) == start then
    local counter, queue_at = string.match(value, '^(%d+):0()', #start + 1)
    local time, fence = redis.call('TIME'), tonumber(hint)
    local now = time[1] * 1000000 + time[2]
    if counter and fence > tonumber(counter) and fence <= now + horizon_us then
      local bit = string.format('%d', ARGV[2] * 8 + 10)
      local given = redis.pcall('BITFIELD', KEYS[2], 'OVERFLOW', 'SAT', -- see give_fence
        'INCRBY', 'u54', bit, '-' .. hint, 'INCRBY', 'u54', bit, string.format('%d', fence + 1))
      fence = fence + (given[1] or max_fence)
      if fence <= max_fence then
        local head = string.format('%s:%d:%d:%d', owner, fence, fence, now + ARGV[4] * 1000)
        redis.call('SET', KEYS[1], head .. string.sub(value, queue_at), 'PX', ARGV[4])
        return {1, fence, fence, now}
      end
    end
  elseif place ~= '' and #value <= 8000 and not string.find(value, waiter, 1, true) then
    local holder, fence, counter, ends = string.match(value, '^([^:|]+):(%d+):(%d+):(%d+)')
    local since, last = string.match(place, '^|(%d+)'), string.match(value, '^|(%d+)', -#place)
    local aside = holder and string.byte(holder) == 126
    if last and #last == #since and last <= since and (aside or fence ~= '0' and ends ~= '0') and holder ~= owner then
      redis.call('APPEND', KEYS[1], place)
      return {0, aside and '' or holder, 0, ends, math.max(tonumber(fence), tonumber(counter)), 0, 1}
    end
  end
end
