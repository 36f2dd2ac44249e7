-- Reads the frames of each file named and writes them again as this client would: NAME, then ok or the error, then
-- the frames in hexadecimal. Arguments: the client's folder, then the files.
package.path = arg[1] .. "/?.lua;" .. package.path
local modkit = require("modkit")
modkit.MAX_DEPTH, modkit.MAX_FRAME = 8, 262144

local function again(data)
  local out, at = {}, 1
  while true do
    local message
    message, at = modkit.next_frame(data, at)
    if not message then return table.concat(out) end
    out[#out + 1] = modkit.frame(message)
  end
end

for i = 2, #arg do
  local file = assert(io.open(arg[i], "rb"))
  local data = file:read("*a")
  file:close()
  local good, result = pcall(again, data)
  local hex = good and result:gsub(".", function(c) return string.format("%02x", c:byte()) end) or ""
  print((good and "ok " or "refused ") .. hex)
end
