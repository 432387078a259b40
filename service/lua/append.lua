-- Append records to a member's log, or rewrite the log; one round trip, atomic. Redis 6.2 and later, one slot.
-- The log's layout is drawn in service/codec.py. The incarnation stays 8 raw bytes: a Lua number would round it.
--
-- KEYS[1] log            KEYS[2] idempotency key, left out when there is none
-- ARGV[1] 'append' | 'replace'
-- ARGV[2] the 8 bytes that every log begins with: magic, schema, record size
-- ARGV[3] incarnation to give a log that begins here, 8 bytes
-- ARGV[4] records        ARGV[5] T_max       ARGV[6] log's time to live, ms, 0 = for ever
-- ARGV[7] for how long the idempotency key is remembered, ms
-- Answers {appended, total, replayed 0|1}, or an error with the log untouched: 'DAMAGED <what>', or 'CONFLICT records'
-- where the idempotency key came with other records. Only the first write can be refused for want of memory or because
-- this is a replica, so nothing is ever written by halves.
local HEADER = 24
local log, seen_key = KEYS[1], KEYS[2]
local mode, prefix, incarnation, records = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_history, ttl = tonumber(ARGV[5]), tonumber(ARGV[6])
local size = struct.unpack('<I2', prefix, 7)
local appended = #records / size

local function damaged(what) return redis.error_reply('DAMAGED ' .. what) end

local stored, trimmed = 0, 0
if mode == 'replace' then
  redis.call('DEL', log)
else
  local length = redis.pcall('STRLEN', log)
  if type(length) == 'table' then return damaged('type') end
  if length > 0 then
    local header = redis.call('GETRANGE', log, 0, HEADER - 1)
    if length < HEADER then return damaged('header') end
    if string.sub(header, 1, 4) ~= string.sub(prefix, 1, 4) then return damaged('magic') end
    if string.sub(header, 5, 6) ~= string.sub(prefix, 5, 6) then return damaged('schema') end
    if string.sub(header, 7, 8) ~= string.sub(prefix, 7, 8) then return damaged('record size') end
    if (length - HEADER) % size ~= 0 then return damaged('alignment') end
    trimmed = struct.unpack('<I8', header, 17)
    if trimmed < 0 or trimmed >= 9007199254740992 then return damaged('trimmed') end
    incarnation = string.sub(header, 9, 16)
    stored = (length - HEADER) / size
  end
end

if seen_key then
  local seen = redis.call('GET', seen_key)
  if seen then
    local before, total, digest = string.match(seen, '^(%d+) (%d+) (%x+)$')
    if digest ~= redis.sha1hex(records) then return redis.error_reply('CONFLICT records') end
    return {tonumber(before), tonumber(total), 1}
  end
end

local total = trimmed + stored + appended
if appended > 0 then
  if stored == 0 and trimmed == 0 then
    redis.call('SET', log, prefix .. incarnation .. struct.pack('<I8', 0) .. records)
  else
    redis.call('APPEND', log, records)
  end
  stored = stored + appended
  if stored > 2 * max_history then
    local kept = redis.call('GETRANGE', log, HEADER + (stored - max_history) * size, -1)
    redis.call('SET', log, prefix .. incarnation .. struct.pack('<I8', total - max_history) .. kept)
  end
  if ttl > 0 then redis.call('PEXPIRE', log, ttl) else redis.call('PERSIST', log) end
end
if seen_key then
  redis.call('SET', seen_key, string.format('%.0f %.0f %s', appended, total, redis.sha1hex(records)), 'PX', ARGV[7])
end
return {appended, total, 0}
