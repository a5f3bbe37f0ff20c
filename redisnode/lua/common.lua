-- Stands before all scripts but release, after the constants horizon_us and max_fence.
-- KEYS: 1 lock, 2 fences. ARGV[1] says what to tell of the server:
-- 'fast' for as little as can be, by as few commands; '' for its clock and what
-- is left of a lock; 'may' for its identity too, if it lets us; 'must' or fail.
-- ARGV[2] says where in the fences the lock's counter is (not to release, which needs none).
--
-- A lock is a string 'owner:fence:counter:until' with the PX of the grant. The
-- counter is 0 where only the fence key knows it. The end is in microseconds of
-- the server's clock. While the key is set aside for a waiter, its owner is
-- '~waiter' and all the rest 0.
--
-- A lock taken or set aside without a script is a hash instead, of its fence by the
-- owner. If a waiter took it, ':until' is behind the fence. See native.go.
--
-- The fences are a string of counters. Each is 8 bytes, the highest first, and tells the
-- smallest fence that may be given next. A lock shares its counter with others.
--
-- Lua prints numbers with 14 digits and a fence has 16, so a number becomes text
-- by text_of alone; as numbers fences are exact, for they stay below 2^53.

local function text_of(n)
  return string.format('%d', n)
end

-- The identity comes first, so that a server that will not tell it is left
-- untouched. A server without INFO server is an embedded one (miniredis).
local mode = ARGV[1]
local run_id, uptime = '', -1
if mode == 'may' or mode == 'must' then
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then
    run_id = string.match(info, 'run_id:(%w+)') or ''
    uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or '-1')
    if uptime < 0 and mode == 'must' then
      return redis.error_reply('NOUPTIME INFO shows no uptime')
    end
  elseif mode == 'must' and not string.find(info.err, 'section .*not supported') then
    return redis.error_reply('NOINFO ' .. info.err)
  end
end

-- The server's clock in microseconds, read once: it stands still in a script.
local now = 0
local function clock()
  if now == 0 then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  return now
end

-- The lock as it is: nil if it is free. Data that is not ours comes back as an
-- owner with fence 0, which no grant has.
local lock

-- What HGETALL gave of it. Says whether that was all there is to know.
local function read_hash(hash)
  local owner, fence = hash[1], string.match(hash[2] or '', '^(%d+):?%d*$')
  local set_aside = owner and string.byte(owner) == 126 -- '~'
  if #hash == 2 and fence and #fence <= 16 and #owner == (set_aside and 33 or 32) then
    lock = {owner = owner, fence = tonumber(fence), counter = 0, ends = '0', until_us = 0}
    lock.native, lock.set_aside = true, set_aside
  end
  return lock or not hash.err and #hash == 0
end

-- Over streams most locks are hashes, and else strings.
local function read_lock()
  if mode == 'fast' and read_hash(redis.pcall('HGETALL', KEYS[1])) then
    return
  end
  local value = redis.pcall('GET', KEYS[1])
  if not value then
    return
  end
  if type(value) == 'table' then
    local hash = redis.pcall('HGETALL', KEYS[1])
    if not read_hash(hash) then
      error(hash.err or value.err)
    end
    return
  end
  local owner, fence, counter, ends = string.match(value, '^([^:]+):(%d+):(%d+):(%d+)$')
  if owner and #fence <= 16 and #counter <= 16 and #ends <= 16 then
    lock = {owner = owner, fence = tonumber(fence), counter = tonumber(counter), ends = ends, until_us = tonumber(ends)}
    lock.set_aside = string.byte(owner) == 126
  else
    lock = {owner = value == '' and '(empty)' or string.sub(value, 1, 100), fence = 0, counter = 0, ends = '0', until_us = 0}
  end
end

local function is_of(owner)
  return lock and lock.fence > 0 and lock.owner == owner
end

local function value_of(owner, fence, counter, ends)
  return owner .. ':' .. text_of(fence) .. ':' .. text_of(counter) .. ':' .. ends
end

-- The lock's end in microseconds.
local function lock_end()
  if lock.until_us == 0 then
    lock.until_us = clock() + redis.call('PTTL', KEYS[1]) * 1000
    lock.ends = text_of(lock.until_us)
  end
  return lock.until_us
end

local function next_fence()
  local from = tonumber(ARGV[2])
  local next, bytes = 0, {string.byte(redis.call('GETRANGE', KEYS[2], from, from + 7), 1, 8)}
  for i = 2, #bytes do
    next = next * 256 + bytes[i]
  end
  return next
end

local function set_next_fence(next)
  local bytes = {}
  for i = 8, 1, -1 do
    local rest = math.floor(next / 256)
    bytes[i], next = next - rest * 256, rest
  end
  redis.call('SETRANGE', KEYS[2], ARGV[2], string.char(unpack(bytes)))
end

-- The largest fence or token of the key. A lock knows it by itself, in case the
-- server evicted the counters.
local function read_counter()
  local known = lock and math.max(lock.fence, lock.counter) or 0
  if lock and lock.counter > 0 then
    return known
  end
  return math.max(next_fence() - 1, known)
end

-- Gives the smallest fence that may be given, from that one on; see native.go for how.
local function give_fence(fence)
  local bit = text_of(ARGV[2] * 8 + 10)
  local given = redis.pcall('BITFIELD', KEYS[2], 'OVERFLOW', 'SAT',
    'INCRBY', 'u54', bit, text_of(-fence), 'INCRBY', 'u54', bit, text_of(fence + 1))
  if not given.err then
    return fence + given[1] -- exact, however large the sum is
  end
  local next = math.max(next_fence(), fence) -- as an embedded server may not know BITFIELD
  set_next_fence(next + 1)
  return next
end

local function raise_counter(counter)
  if next_fence() <= counter then
    set_next_fence(counter + 1)
  end
end

-- What asks for the server's identity gets it in the end of the answer.
local function identified(answer)
  if mode == 'may' or mode == 'must' then
    answer[#answer + 1] = run_id
    answer[#answer + 1] = uptime
  end
  return answer
end

local function yes(fence, counter)
  return identified({1, fence, counter, clock()})
end

-- What is left of the lock is told in milliseconds, or else when it ends.
local function no(queued)
  if mode == 'fast' and lock and (lock.ends ~= '0' or lock.set_aside) then
    return {0, lock.set_aside and '' or lock.owner, 0, lock.ends, math.max(lock.fence, lock.counter), 0, queued}
  end
  local owner, left_ms = '', 0
  if lock and not lock.set_aside then
    owner, left_ms = lock.owner, redis.call('PTTL', KEYS[1])
  end
  return identified({0, owner, left_ms, '', read_counter(), clock(), queued})
end

local function stands(owner, fence)
  return is_of(owner) and lock.fence == fence
end
