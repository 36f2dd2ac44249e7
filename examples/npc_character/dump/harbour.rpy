# Corrow by day: the quay, the market, the inn, the yard, the office, the hill.

label arrival:
    scene quay dusk
    with fade
    "The Grey Goose pulls away. A tall woman in an old grey coat is walking out along the Long Quay with a can in each hand."
    you "Excuse me. Is there a bed in this town?"
    s "Four of them. All at the Blue Eel, top of the Fish Stair. Ask for Nell."
    s "Mind the steps. There are twenty-two, and the wet ones are the bottom ten."
    you "And who are you?"
    s "Sable. I keep the lamp."
    s "You came on the Grey Goose. She will not be back until the first of the month, so you had better like fish."
    menu:
        "Is it always so grey here?":
            s "No. Some days it is dark."
        "Can I carry a can for you?":
            $ trust += 1
            s "You can carry the light one. Spill it and you carry both, every night until you leave."
            s "That is good seed oil. Six marks a barrel, and every drop has a ship's name on it."
        "Why the hurry?":
            s "The first star. The lamp must be lit before it. That is rule one."
    s "Sun is nearly down. I do not stand and talk when the sun is nearly down."
    s "Get warm, [player]. Corrow looks better from beside a fire."
    "She goes in at the small door of the tower. A minute later, light comes down the channel, white and one narrow bar of green."
    jump blue_eel_evening

label blue_eel_evening:
    scene inn fire
    nell "Come in, come in, my dear, and shut the wind out. You will want a bed and something hot."
    nell "A bed is one mark a week, and the barley soup comes with it whether you like barley or not."
    you "I met the lamp keeper on the quay."
    nell "Sable? Did she tell you to mind the steps? Then she likes you, my dear."
    bram "LIKES him? She told me to mind the steps once, and I had been walking down them for forty years!"
    nell "Indoors, Bram. You are indoors."
    bram "This IS my indoors voice!"
    pip "Are you staying until the first? Where did you come from? Have you seen a city?"
    nell "Pip, let our guest sit down before you eat them whole."
    pip "I carry the slate for Sable. If you want to tell her something at night, you write it, and I take it up."
    you "Why does she not come down?"
    hob "A lamp left alone is a door left open. Her father used to say so, and he was right till the day he died."
    nell "That is Hob. He mends nets, and he has been seventy-nine for as long as I remember."
    hob "Seventy-nine since spring. Before that I was seventy-eight, and it was no better."
    "Bram turns his chair so that his back is to the old man."
    bram "Pip! Tell Hob he is sitting in my light!"
    pip "Hob, you are in his light."
    hob "Tell Bram I never noticed there was any. I am mostly blind."
    return

label noon_quay:
    scene quay noon
    "The noon gun goes off. Doors open. After a while the tower door opens too, and a black cat comes out first."
    you "Good morning."
    s "It is noon. That is my morning, so I will allow it."
    you "Is that your cat?"
    s "That is Soot. He came off a coal boat with one eye and no manners. He stayed. I stopped asking why."
    menu ask_quay:
        "Do you sleep in the daytime?":
            s "From breakfast until the noon gun. Crake fires it, and it is a minute late most days."
            s "Nobody tells him. A man should have one thing he is wrong about in peace."
            jump ask_quay
        "What is there to see in Corrow?":
            s "The Fish Stair on market day. The Blue Eel any day. The chapel hill if the wind lets you stand up."
            s "Gull Rock, if somebody rows you. There are seals on it, and one old grave with no name."
            s "Do not walk on the old pier at the Tar Yard. It is rotten from one end to the other."
            jump ask_quay
        "How do boats find the way in at night?":
            s "They look for the green. My lamp has eight panes. Seven are white, and one is green."
            s "The green pane looks straight down the channel. See green, and you have deep water under you."
            s "See white, and you turn. If you do not turn, you meet the Teeth."
            jump ask_quay
        "What are the Teeth?":
            s "Black rocks, north of the channel. At low tide you can count them. At high tide they count you."
            s "Then there is the Drag. That is the current by Gull Rock. It pulls a boat north, and north is where the Teeth are."
            jump ask_quay
        "Who is the harbour master?":
            s "Crake. The house with the red door. Knock twice, wipe your feet, and do not expect a chair."
            you "You do not like him."
            s "He counts my oil twice. I count his words once. That is enough for me."
            jump ask_quay
        "Have you ever left Corrow?":
            s "I have been to the top of the hill. You can see the road to Harl from there. I looked at it and came home."
            s "Somebody has to be here when it gets dark. It gets dark every day."
            jump ask_quay
        "I should let you work.":
            s "You should. There are eight panes to wash, and the gulls do not help."
    return

label market_day:
    scene fish stair market
    bram "HERRING! Three for a copper! Big as your arm, and better looking!"
    s "Bram, those are as big as my thumb."
    bram "They were bigger in the water, Sable! The air shrinks them!"
    s "Then the air has been at your boat too. The Patience looks smaller every year."
    bram "The Patience is the best boat in Corrow! Blue as the sky and twice as dry!"
    s "She leaks by the mast, Bram. I can see the wet from up there. I see everything from up there."
    you "Did you leave the fish at the tower door, Bram?"
    bram "What fish? I know of no fish! Who says there was a fish?"
    s "Every market day there is a fish at my door. Nobody knows who brings it. Soot and I do not ask."
    "Bram goes red and begins to count herring very loudly."
    you "Why does he do it?"
    s "He was out in the big storm last autumn. I rang the bell until my hands bled. He came in on the sound."
    s "He cannot say thank you, and I cannot hear it said. So there is a fish. It is a good arrangement."
    nell "Eel pie, my dears, two coppers, and it is still hot."
    s "Two of those, Nell. One for the stranger. They look thin."
    nell "You are the one who looks thin. When did you last eat a supper?"
    s "I ate on some day of this week. It had an onion in it."
    nell "You bought oil again with your own pay. Do not tell me you did not."
    s "It is a long month, and the nights are getting longer. The barrel does not know that."
    pip "Sable, they are saying the first fish was not thrown back this year. They say the sea is owed."
    s "It was thrown back. I saw Bram do it. He threw back the smallest one he had, but he threw it."
    bram "It was a fine fish! It had its whole life before it!"
    return

label tar_yard:
    scene tar yard
    "An upturned boat serves as a house. An old man sits before it with a net over his knees and an empty pipe in his mouth."
    hob "That is a new step. Light on the left foot. You are the stranger from the Grey Goose."
    you "How do you mend nets if you cannot see?"
    hob "A net is mostly holes, and I only need to know which holes are wrong."
    s "He is showing off. He has done it for sixty years. His hands could do it with him asleep."
    hob "Sable. You are up early. The gun has hardly cooled."
    s "I came for rope, Hob, and to see that you have eaten."
    hob "I ate. A man who eats alone eats twice as slow and half as well."
    s "That means bread and nothing. There is a smoked herring in this paper. It is from Soot."
    hob "Then thank the cat."
    s "He does not like to be thanked. It runs in the house."
    menu:
        "Did you know Sable's father?":
            hob "Joss? Better than I know this pipe. We were boys together, and then old men, and then he stopped."
            s "He sang to the lamp, my father. Every night for thirty years. He had four songs and one good one."
            hob "He stopped singing after the Heron. A house goes cold from the roof down, they say."
            s "Not today, Hob."
        "Why do you not speak to Bram?":
            hob "He thinks that I cut his net, two summers back. So he keeps his mouth shut when I am near. It is restful."
            you "Did you cut it?"
            hob "Somebody did. The sea did not mind."
            s "It lay across the channel. A net in the channel can hold a boat by the rudder until the tide turns. I will say no more."
        "What is that knocking sound?":
            s "The old pier. The tide moves the loose planks. It killed a man the year I was ten."
            hob "A rotten board says nothing till you stand on it. Same with some men."
    hob "My bad knee hears the bell under Gull Rock. Weather is coming."
    s "East wind by night, then. East wind brings fog. I will want two cans more on the landing."
    return

label harbour_office:
    scene office red door
    "The room is very clean. A big book lies on the desk, closed, with a ruler across it."
    crake "State your name, your boat and your business."
    you "[player]. I came on the Grey Goose. I only wanted to ask about the lamp."
    crake "The lamp is a charge on the harbour. It uses forty barrels in a year. It should use thirty-six."
    s "In a year with no night in it, it would use none at all."
    crake "Keeper. You were not sent for."
    s "The noon gun was late. I thought that you might have died."
    crake "The gun was fired at noon. Noon is when the gun is fired."
    s "Then the sun was early. I will speak to it."
    crake "You signed for four barrels on the first. I count three in the store and one on the landing."
    s "Three and one. I do it on my fingers, but I get the same sum."
    crake "I shall count them again tomorrow."
    s "You do that. They like the company."
    menu:
        "What is in the book?":
            crake "All that happens in this harbour. Fifteen years are in my own hand. Nothing in it is untrue."
            s "One line is. You know the page, and so do I."
            crake "The keeper slept. It was written on the day. It will not be unwritten because you have a temper."
            s "I have no temper. I have a good memory. It lasts longer."
        "The lens is cracked. Who pays for a new one?":
            crake "A lens costs two hundred marks. The harbour fund holds sixty-one. The matter is closed."
            s "Cracked glass breaks in a hard frost. Then you may write in the book that the harbour was dark."
            crake "It held last winter."
            s "So does a bad tooth, until it does not."
        "I will come back another time.":
            crake "Between ten and four. Wipe your feet."
    s "Come away, [player]. The air in here is bad for the wick."
    return

label chapel_hill:
    scene hill wind
    "Behind the chapel there is one long grave. Sable stands at the end of it with her hands in the coat."
    you "Who lies here?"
    s "The people of the Heron. She struck the Teeth twelve years ago, in the winter of the fog."
    s "The stone says eighteen. My brother is the fourth name from the left."
    you "I am sorry."
    s "People are. It is kind, and it changes nothing. Finn was eighteen years old, and he had a tin whistle and no ear at all."
    s "I can say his name here. I do not say it in the lamp room. That is rule five."
    menu:
        "What happened that night?":
            s "Fog for thirty-one days, and then a ship. She came up with the tide and looked for my father's light."
            s "For one hour there was none. An hour is long enough."
            s "Hob and I rowed out. It was so dark that I only knew the rocks by the sound of the water on them."
            $ trust += 1
        "What was the fog like?":
            s "Forty days of it. You could lean on it. It smelled of iron, and bread would not rise."
            s "People tied ropes from door to door. The bell rang day and night, one stroke every minute."
        "Was it your father's watch?":
            s "It was. And he did not sleep. They will tell you that he slept. He never slept on watch in thirty years."
            s "He died in the spring. Nothing was wrong with him that a doctor could find."
    you "Is that the road to Harl?"
    s "Two days on foot, over the hill. They have more money than us, and they took the wood of the Heron off our beach."
    s "Coffins could have been made of that wood. They made a dance floor."
    s "Wind is turning west. That is rain. Walk behind me and keep off the edge."
    return

label long_night_plans:
    scene quay evening
    pip "Tell them about the Long Night, Sable! They will miss it if they go on the first."
    s "It is the middle of winter. Every window has a candle in it, and nobody lights a fire in the street until the end."
    s "The whole town waits in the dark. Then I light the lamp, last of all, and they cheer. They cheer the lamp, not me. It is better so."
    pip "And there is seed cake. And in the morning there is a little wooden boat on the doorstep of every child. Nobody knows who makes them."
    s "No. It is a great mystery."
    pip "You have wood dust on your sleeve, Sable."
    s "The stairs are old. They shed."
    you "Will the harbour freeze this winter?"
    s "It froze seven years ago, once. Pip walked out on it like a duck. I have never shouted so loud, before or since."
    pip "I was five, and it held me!"
    s "It held you because you weighed as much as a loaf. Do not try it again. You have been eating since."
    return

label noon_gun_late:
    scene quay noon
    "No gun. The sun is well past the top of the chapel. Sable stands in her doorway with her boots undone."
    s "Four minutes late. He is getting worse, or I am getting hungry."
    bram "SABLE! You are up before the gun! Is somebody dead?"
    s "You woke me, Bram. You were whispering to a crab at the far end of the quay."
    bram "He had hold of my thumb!"
    s "Then he has good taste in thumbs. What did you take today?"
    bram "Six baskets! South wind, flat sea, and cod as long as Pip!"
    s "Pip is growing. Was it the long end of Pip or the short end?"
    bram "Well. Pip sitting down."
    s "South wind fish is good fish. Sell it quick, for the wind goes round tonight."
    bram "How can you know that?"
    s "The smoke from the Salt House. It was lying down, and now it is standing up."
    "The gun goes off at last, and every gull in Corrow goes up with it."
    s "There. It is noon now. We may all begin."
    return

label parting_advice:
    scene quay grey morning
    you "Is there anything I should be afraid of here?"
    s "Five things. The Teeth, the Drag, the fog, the old pier, and the cave under my feet when the tide comes in."
    s "If you are lost at night, walk to the bell. Keep one hand on the wall, and do not answer anybody who calls from the water."
    you "Who would call from the water?"
    s "The children say the Grey Wife. She walks on the sea in fog, with the voice of whoever you miss."
    you "Do you believe it?"
    s "I believe in keeping one hand on the wall."
    if trust >= 2:
        s "I heard her once. I will tell you some other time, and not in the dark."
    you "You take good care of strangers."
    s "I take care of the quay. Strangers fall off it and make a mess."
    return
