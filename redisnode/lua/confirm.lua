-- ARGV: 3 owner, 4 fence, 5 token
read_lock()
if not stands(ARGV[3], tonumber(ARGV[4])) then
  return no(0)
end
local token, counter = tonumber(ARGV[5]), read_counter()
if token > counter then
  raise_counter(token)
  redis.call('SET', KEYS[1], value_of(ARGV[3], lock.fence, token, text_of(lock_end())), 'KEEPTTL')
  counter = token
end
return yes(lock.fence, counter)
