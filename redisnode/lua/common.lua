-- Stands before every script. KEYS: 1 lock, 2 fence, 3 tombstone. ARGV[1] says
-- whether to identify the server: '' no, 'may' if it lets us, 'must' or fail.
--
-- Lua prints numbers with 14 digits and a fence has 16, so a number becomes text
-- by text_of alone; as numbers fences are exact, for they stay below 2^53.

local function text_of(n)
  return string.format('%.0f', n)
end

-- The identity comes first, so that a server that will not tell it is left
-- untouched. A server without INFO server is an embedded one (miniredis).
local run_id, uptime = '', -1
if ARGV[1] ~= '' then
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then
    run_id = string.match(info, 'run_id:(%w+)') or ''
    uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or '-1')
    if uptime < 0 and ARGV[1] == 'must' then
      return redis.error_reply('NOUPTIME INFO shows no uptime')
    end
  elseif ARGV[1] == 'must' and not string.find(info.err, 'section .*not supported') then
    return redis.error_reply('NOINFO ' .. info.err)
  end
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Gives owner and fence of the lock, nil if it is free. Data that is not ours
-- comes back as an owner with fence 0, which no grant has.
local function read_lock()
  local value = redis.call('GET', KEYS[1])
  if not value then
    return nil, 0
  end
  if value == '' then
    return '(empty)', 0
  end
  local owner, fence = string.match(value, '^(.+):(%d+)$')
  if owner and #fence <= 16 then
    return owner, tonumber(fence)
  end
  return string.sub(value, 1, 100), 0
end

-- The largest fence or token of the key. A standing fence counts by itself, in
-- case the server evicted the counter.
local function read_counter(fence)
  local value = redis.call('GET', KEYS[2])
  if not value then
    return fence
  end
  if #value > 16 or not string.match(value, '^%d+$') then
    error('the fence key holds something else than a counter')
  end
  return math.max(tonumber(value), fence)
end

-- The counter must outlive the grant it belongs to, and is never kept shorter
-- than was promised before.
local function write_counter(n, ttl_ms, retention_ms)
  local keep_ms = math.max(retention_ms, 2 * ttl_ms, redis.call('PTTL', KEYS[2]))
  redis.call('SET', KEYS[2], text_of(n), 'PX', text_of(keep_ms))
end

-- Makes the lock last ttl_ms from now unless it lasts longer already, or for
-- ever (-1). Gives what it will last.
local function raise_expiry(ttl_ms)
  local left_ms = redis.call('PTTL', KEYS[1])
  if left_ms >= 0 and left_ms < ttl_ms then
    redis.call('PEXPIRE', KEYS[1], text_of(ttl_ms))
    return ttl_ms
  end
  return left_ms
end

local function answer(granted, owner, fence, left_ms, counter)
  return {granted, owner, fence, left_ms, counter, now, run_id, uptime}
end

local function refuse(owner, counter)
  if not owner then
    return answer(0, '', 0, 0, counter)
  end
  return answer(0, owner, 0, redis.call('PTTL', KEYS[1]), counter)
end
