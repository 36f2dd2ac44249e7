init:
    image bg quay = "quay.png"

image mara happy = "mara_happy.png"
default trust = "not speech"

label start(first=True):
    scene bg quay with fade
    play music "tide.ogg" fadein 1.0
    voice "v/001.ogg"
    $ greeting = "not speech at all"
    "The quay is empty."
    m "Good {b}evening{/b}, [povname!t].{w=0.5} Mind the {{wet} step."
    m happy -sad @ smug "It is 100%% slippery." with dissolve
    extend "{nw} And old."
    t "She said \"mind it\",\nso mind it." nointeract
    "Old Woman" "Who is there?"
    n "Nobody answers."
    old "That was me, older."
    ghost "I am still here."
    e2 'Single quotes do as well.' id edda_one
    x_unknown "Somebody without a definition."
    notify "Saved."
    show text "A title card"
    centered "Chapter One"
    m """
    The first thing.

    The second thing,
    on two lines.
    """
    menu harbour_menu:
        m "What will you do?"
        "Light the lamp" if trust == "high":
            m "Good."
            jump lit
        "Walk away" (mood="sad"):
            pov "I am leaving."
    if m == "no":
        m "Inside an if."
    call screen shop("not speech")
    return

screen shop(title):
    text "Buy something"
    textbutton "Leave" action Return("left")
    vbox:
        text title

label .cellar:
    m "Down here."  # with a comment "at the end"
    # m "This one was cut."

transform drift:
    xalign 0.0
    linear 2.0 xalign 1.0

style say_label:
    font "x.ttf"

label lit:
    python:
        m_says = "no"
        label = "also no"
    m "(m sighs) It is lit."
    pov "What a long string that goes
        over two lines."
