"""Your own NPC in your own pygame loop. From the root of the repository, once the persona is built (docs/personas.md):

    python examples/pygame_npc.py examples/npc_character/sable.gguf out/sable.persona
"""

import sys

import pygame

import modkit
from modkit.errors import ModkitError

model, persona = sys.argv[1:]
pygame.init()
screen, font, clock = pygame.display.set_mode((900, 200)), pygame.font.Font(None, 26), pygame.time.Clock()
pygame.key.start_text_input()
engine = modkit.Engine(model, context=1024)  # returns at once; the file is read while your loop runs
npc = modkit.NPC(persona, engine, save=persona.replace(".persona", ".save"))
typed, bubble, reply, running = "", "", None, True
while running:
    try:
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                running = False
            elif event.type == pygame.TEXTINPUT:  # whatever the keyboard makes: ü, Ж, 灯
                typed += event.text
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_BACKSPACE:
                typed = typed[:-1]
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_RETURN and typed:
                reply, bubble, typed = npc.say(typed), "", ""
        engine.tick()  # once a frame
        bubble += reply.take() if reply else ""
    except ModkitError as error:  # the model: missing, damaged, dead. The game goes on without her voice
        reply, bubble = None, str(error)
    screen.fill((16, 18, 28))
    for row, text in enumerate((f"{npc.name}: {bubble}", f"> {typed}")):
        screen.blit(font.render(text, True, "white", None, 860), (20, 20 + 110 * row))
    pygame.display.flip()
    clock.tick(60)
npc.close()  # before the engine: what was said so far is in the save
engine.close()
pygame.quit()
