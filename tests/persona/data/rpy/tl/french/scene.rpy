# game/scene.rpy:13
translate french start_1a2b3c4d:

    # m "Good evening."
    m "Bonsoir, l'été est fini."

translate french strings:

    # game/scene.rpy:40
    old "Light the lamp"
    new "Allumer la lampe"

translate french python:
    gui.text_font = "x.ttf"
