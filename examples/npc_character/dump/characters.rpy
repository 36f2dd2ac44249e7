# Who speaks in the harbour. The scenes in the other scripts use these names.

define s = Character("Sable", color="#d9b45b", image="sable")
define bram = Character("Bram", color="#5b8fd9")
define nell = Character("Nell", color="#d9735b")
define crake = Character('Crake', color="#9aa0a6")
define pip = Character("Pip", color="#8fd95b", image="pip")
define hob = Character(_("Hob"), color="#a58fd9")

# The stranger from the Grey Goose. The name is asked for at the start of the game.
define you = Character("[player]")

default player = "Stranger"
default trust = 0
