# Characters live here; the scenes are in another file.
define m = Character(_("Mara"), color="#c8ffc8", image="mara")
define t = Character(
    "{i}Tobin{/i}",
    who_color="#fff",  # a comment with a "quote"
)
define old = Character(kind=t)
define n = Character(None, kind=nvl)
define pov = Character("[povname]")
define ghost = DynamicCharacter("ghost_name")
default povname = "Ann"
default ghost_name = "The Drowned Man"

init python:
    e2 = Character("Edda")
    def shout(text):
        """Say it loud."""
        return "not speech either".upper()
    renpy.register_statement("notify", parse=None)
