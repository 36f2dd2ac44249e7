-- A mod in the manner of Cyber Engine Tweaks: it asks Sable something when the game is up, and shows her words as
-- they come. Put this file and modkit.lua into the mod's folder, make a folder `mailbox` in it, and run beside the game:
--
--     modkit serve sable.persona --model sable.gguf --files PATH/TO/THE/MOD/mailbox

local modkit = require("modkit")
local client, reply

local sable = { question = "Did the lamp go out last night?", subtitle = "", frames = 0 }

registerForEvent("onInit", function()
  client = modkit.files(sable.mailbox or "mailbox")
  reply = client:say(sable.question, {
    npc = "Sable",
    facts = { "The player limps." },
    options = { max_tokens = 60 },
    on_done = function(done) print("[sable] " .. (done.error or done.finish)) end,
  })
end)

registerForEvent("onUpdate", function(delta)
  if not client then return end
  sable.frames = sable.frames + 1
  client:update()
  local words = reply:take()
  if words ~= "" then sable.subtitle = sable.subtitle .. words end
  sable.done, sable.error = reply.done or client.closed ~= nil, reply.error or client.closed
end)

registerForEvent("onShutdown", function()
  if client then client:close() end
end)

return sable
