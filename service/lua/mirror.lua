-- Compare a member's log with that of another embedding version, or make it that one's image; one round trip, atomic.
-- Both keys share the member's hash tag. An image has the source's incarnation and counts, so equal versions mean that
-- nothing is missing. A log that has more of the same incarnation is written by others already and is left alone.
--
-- KEYS[1] source    KEYS[2] image
-- ARGV[1], ARGV[2] the 8 bytes that every log of the source's, of the image's width begins with: service/codec.py
-- ARGV[3] '' = only compare, else the records of the source's version ARGV[4] (incarnation, 8 bytes), ARGV[5] (total)
-- ARGV[6] its trimmed, 8 bytes     ARGV[7] image's time to live, ms, 0 = for ever
-- Answers 'gone' (no source), 'same', 'behind' (also: the source has changed meanwhile) or 'ahead', or the error
-- 'DAMAGED <what>' of the source. A damaged image is behind.
local HEADER = 24
local source, image = KEYS[1], KEYS[2]

local function version(log, prefix)
  local length = redis.pcall('STRLEN', log)
  if type(length) == 'table' then return nil, 'type' end
  if length == 0 then return nil, nil end
  if length < HEADER then return nil, 'header' end
  local header = redis.call('GETRANGE', log, 0, HEADER - 1)
  if string.sub(header, 1, 8) ~= prefix then return nil, 'magic' end
  local size = struct.unpack('<I2', prefix, 7)
  if (length - HEADER) % size ~= 0 then return nil, 'alignment' end
  local trimmed = struct.unpack('<I8', header, 17)
  if trimmed < 0 or trimmed >= 9007199254740992 then return nil, 'trimmed' end
  return string.sub(header, 9, 16), nil, trimmed + (length - HEADER) / size
end

local incarnation, wrong, total = version(source, ARGV[1])
if wrong then return redis.error_reply('DAMAGED ' .. wrong) end
if not incarnation then return 'gone' end
local ours, _, has = version(image, ARGV[2])
if ours == incarnation and has >= total then
  if has == total then return 'same' else return 'ahead' end
end
if ARGV[3] == '' or ARGV[4] ~= incarnation or tonumber(ARGV[5]) ~= total then return 'behind' end

redis.call('SET', image, ARGV[2] .. incarnation .. ARGV[6] .. ARGV[3])
if tonumber(ARGV[7]) > 0 then redis.call('PEXPIRE', image, ARGV[7]) end
return 'same'
