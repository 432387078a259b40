-- Read a member's log: "unchanged", the anchored window, or all of it; one round trip. Redis 6.2 and later.
-- The log's layout is drawn in service/codec.py; the window is model.bundle.window_start.
--
-- KEYS[1] log
-- ARGV[1] the 8 bytes that every log begins with: magic, schema, record size
-- ARGV[2] T_max of the window, 0 = the whole log        ARGV[3] S, the window's slack
-- ARGV[4] incarnation that the caller has, 8 bytes, or '' for none     ARGV[5] total that it has
-- ARGV[6] time to live that a read renews, ms, 0 = leave it
-- Answers nil (no log), 1 (unchanged), {incarnation, total, records}, or the error 'DAMAGED <what>'.
local HEADER = 24
local log, prefix = KEYS[1], ARGV[1]
local max_history, slack, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local size = struct.unpack('<I2', prefix, 7)

local function damaged(what) return redis.error_reply('DAMAGED ' .. what) end

local length = redis.pcall('STRLEN', log)
if type(length) == 'table' then return damaged('type') end
if length == 0 then return false end
if length < HEADER then return damaged('header') end
local header = redis.call('GETRANGE', log, 0, HEADER - 1)
if string.sub(header, 1, 4) ~= string.sub(prefix, 1, 4) then return damaged('magic') end
if string.sub(header, 5, 6) ~= string.sub(prefix, 5, 6) then return damaged('schema') end
if string.sub(header, 7, 8) ~= string.sub(prefix, 7, 8) then return damaged('record size') end
if (length - HEADER) % size ~= 0 then return damaged('alignment') end
local trimmed = struct.unpack('<I8', header, 17)
if trimmed < 0 or trimmed >= 9007199254740992 then return damaged('trimmed') end

-- A read must not fail because a replica, or a server whose disk is full, does not write.
if ttl > 0 then redis.pcall('PEXPIRE', log, ttl) end
local incarnation = string.sub(header, 9, 16)
local total = trimmed + (length - HEADER) / size
if ARGV[4] == incarnation and tonumber(ARGV[5]) == total then return 1 end

local start = trimmed
if max_history > 0 then
  -- A log trimmed under a shorter T_max may begin after the anchor: then it is read from where it begins.
  start = math.max(trimmed, slack * math.ceil(math.max(0, total - max_history) / slack))
end
if start >= total then return {incarnation, total, ''} end
return {incarnation, total, redis.call('GETRANGE', log, HEADER + (start - trimmed) * size, -1)}
