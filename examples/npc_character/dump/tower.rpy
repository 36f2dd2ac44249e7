# The tower by night. The lamp room has its own rules, and Sable is easier to talk to up there.

label first_climb:
    scene tower stairs
    "Ninety-one steps, and no rail. Sable's voice comes down from the top."
    s "You wrote on the slate that you could not sleep. Nobody up here can either. Come on."
    s "Count the steps as you go. If you count more than ninety-one, you have walked into the sky."
    you "One of them moved under my foot."
    s "Step forty. The stone is loose. Leave it alone, please."
    scene lamp room
    s "There. That is the lamp. She has burned on this spot for two hundred years, and I have had her for eleven."
    you "It is warm up here."
    s "It is the only warm room in Corrow that does not smell of herring. It smells of oil. You stop noticing in a year or so."
    menu first_questions:
        "May I sit down?":
            s "On the box. Not on the chair. Nobody sits in the keeper's chair but the keeper. That is rule six."
            jump first_questions
        "What are the other rules?":
            s "One, light her before the first star. Two, never let her go out before the sun is up."
            s "Three, trim the wick every four hours. Four, no whistling in the tower."
            s "Five, no drowned person's name is said in this room. Six, the chair. You nearly broke that one."
            s "Seven, never carry a grudge up the stairs. That is the hard one. I leave mine on step ten and pick it up going down."
            jump first_questions
        "Why is whistling forbidden?":
            s "It calls the wind. That is what they say in the boats. Up here it only makes the glass ring, and I hate it."
            jump first_questions
        "How long does the oil last?":
            s "A barrel lasts nine nights. In midwinter it lasts eight, but I am paid for nine."
            jump first_questions
        "What is the difference between good oil and bad oil?":
            s "Good oil is yellow and burns without a sound. Bad oil spits. Fish oil smokes, but it is honest."
            s "Oil with water in it spits, then goes blue, then goes out. You only need to see it once."
            jump first_questions
        "I will just watch.":
            s "Good. Watching is most of the work. The rest is washing."
    return

label wick_lesson:
    scene lamp room
    pip "Is it four hours yet?"
    s "You asked that when it was three. It is now three and a bit."
    pip "How do you always know?"
    s "The flame gets a shoulder. See, on the left. When it has two shoulders, it is time to trim."
    pip "Can I cut it?"
    s "You can. Straight across, and no deeper than a fingernail. Do not breathe on her."
    "Pip cuts the wick with her tongue between her teeth."
    s "That is straight. That is straighter than mine was when I was twelve."
    pip "Truly?"
    s "I do not say things to be nice. It wastes air."
    pip "This wick is so white. The wick from the harbour store is yellow and full of knots."
    s "That one came from somewhere else."
    pip "Where?"
    s "It comes every spring, on the Grey Goose. It burns well. Polish the green pane, there is a thumb on it."
    pip "When I am keeper, I will have two chairs."
    s "When you are keeper, you may have a sofa. First you will go and see a city, and come back and tell me what it is for."
    pip "But who would carry the slate?"
    s "Soot. He can have a small basket."
    return

label fog_watch:
    scene lamp room fog
    "The window is white. Every minute Sable pulls the rope, once, and the bell answers above her head."
    s "One stroke every minute. You count to sixty and you do not get lost in your own thoughts. That is the whole art."
    you "And if there is danger?"
    s "Three quick ones. Then every boat in hearing drops its anchor and prays."
    you "Can they see the lamp at all, in this?"
    s "At the end of the quay, yes. At Gull Rock, a little. At the Teeth, no. So tonight the bell is the lamp."
    s "East wind brings it. The smell comes first. Like iron, like a nail held in the mouth."
    menu fog_questions:
        "What was the winter of the fog?":
            s "Forty days. I was twenty-two, and I carried the oil up while my father rang. Nobody in Corrow saw the sun or their own feet."
            s "People grew odd. Nell talked to the barrels. Bram was quiet. You see how bad it was."
            jump fog_questions
        "Have you ever heard the Grey Wife?":
            s "Once. In that winter. She stood out past the quay and used a voice I knew."
            s "I did not answer. I rang the bell until she stopped. It took until morning."
            jump fog_questions
        "Whose voice was it?":
            s "Not in this room. You know rule five."
            jump fog_questions
        "Are you ever afraid of the sea?":
            s "No. The sea is only busy. I am afraid of sleep. It comes up the stairs with no boots on."
            jump fog_questions
        "Shall I ring for a while?":
            $ trust += 1
            s "Take the rope low, and let it pull you. Do not fight the bell. She is heavier than both of us."
            s "Good. Now I can drink my tea while it is hot. That has not happened since the spring."
    bram "(from far below, out of the white) SABLE! IS THAT YOU RINGING? IT IS ALL CROOKED!"
    s "It is the stranger, Bram! Follow it in anyway!"
    bram "I CAN SEE THE GREEN! I SEE HER! TELL NELL TO KEEP THE SOUP!"
    s "There. One boat home. Put that in your book, if you keep one."
    return

label long_quiet_night:
    scene lamp room night
    you "What do you do up here, all night?"
    s "I look at the sea, and the sea looks at the wall. I trim. I wash. I cut wood into small boats."
    you "Are you not lonely?"
    s "I have a lamp, a cat and three hundred people asleep. It is the best way to have three hundred people."
    menu quiet_questions:
        "Why are you called Sable?":
            s "I was born on a night with no moon. My father looked out and named me after what he saw."
            jump quiet_questions
        "Did you always want to be the keeper?":
            s "No. I wanted to be a rope maker and have my evenings. Then my father died, and it was getting dark."
            s "Crake had chosen a man from the Salt House. He stopped to finish his dinner. When he got here, she was lit."
            s "That was eleven years ago. Nobody has found a way to ask me to leave."
            jump quiet_questions
        "Have you never married?":
            s "A sailor from Harl asked me. I told him that the lamp had asked first."
            you "Was he sad?"
            s "He was sick over the rail all the way home. It may have been love. The sea was high."
            jump quiet_questions
        "What was your father like?":
            s "Soft. He put spiders out of the window by hand. He sang to her, low, so that she would burn even."
            s "He taught me to hear the oil. He said a lamp tells you everything a quarter of an hour before it happens."
            jump quiet_questions
        "What about your mother?":
            s "Edda. She left when I was nine. She went down the stairs one night, and in the morning there was one coat less."
            s "I do not know where she went. I do not know why. I have had twenty-five years to think of a reason, and I have none."
            jump quiet_questions
        "What would you like best in the world?":
            s "A new lens before the frost. A line in a book put right. And one whole night of sleep."
            s "I do not mind in which order."
            jump quiet_questions
        "Tell me about kings and great cities.":
            s "I know nothing about them. Has a king ever trimmed a wick? Then we would not have much to say to each other."
            jump quiet_questions
        "Good night, Sable.":
            s "It is a fair one. Mind step forty."
    return

label the_drawer:
    scene keeper room day
    "Soot is asleep on a pile of wood shavings. The drawer of the table is a little open."
    you "Is that a whistle?"
    s "Tin. It was my brother's. I thought you could keep your eyes in your own head, [player]."
    you "I am sorry."
    s "No. It is only a drawer. We are below the lamp room here, so sit. I can say it here."
    s "Finn went to sea at sixteen. He wanted to see where the ships came from. He was two years on the Heron."
    s "He wrote to us that he was coming home with a clock for my father, so that he would know when to trim."
    s "My father never needed a clock. But he went down to the quay every day that week, to look for the ship."
    menu:
        "Why do you keep a whistle, if you hate whistling?":
            s "He played it so badly that the gulls complained. I told him to stop every day of his life."
            s "So I keep it, and nobody plays it. That is what I asked for."
        "Do you blame somebody for the wreck?":
            if trust >= 2:
                s "Yes. I blame one man for a lie, and another for a barrel. I do not blame the man who stood here. That is my whole grudge."
            else:
                s "I blame the Teeth. Ask me again when you have rung the bell for me."
    s "Shut the drawer. Gently. It sticks in wet weather."
    return

label low_door:
    scene tower foot
    you "There is an iron door down here."
    s "The Low Door. It opens on a cave, and the cave opens on the sea. It is good for one hour, at the lowest tide of the month."
    menu low_door_questions:
        "What was it for?":
            s "Smugglers. In my grandmother's time they brought in brandy under the lamp, and the keeper was deaf that year."
            jump low_door_questions
        "The children say there is gold in there.":
            s "There is wet rope, two broken barrels and an old boat. I have looked. I was a child too."
            jump low_door_questions
        "Could I go in?":
            s "You could. When the tide turns, the cave fills in less than an hour. The door will not open against water."
            s "They would find you in spring, and I would have to write it in the log. So no."
            jump low_door_questions
        "Did somebody leave by this door?":
            s "My mother did. I found the bolt drawn back, and the stone still wet. I was nine, and I bolted it again."
            s "I have wondered since if I should have left it open."
            jump low_door_questions
        "Let us go up.":
            s "Yes. It is cold down here, and it talks."
    return

label the_jar:
    # Only after the stranger has earned it: rung the bell, carried the cans, kept the rules.
    scene tower stairs night
    "Sable stops on step forty, sets her lantern down and works the loose stone out of the wall with two fingers."
    s "You asked me what I have against Crake. I will show you, and then you will forget it."
    "It is a jar, sealed with black wax. In it there is yellow above and grey below."
    s "Oil on top, water underneath. I took it from the barrel with my own hands, the night the Heron was lost."
    s "He did not sleep. He stood at her side and fed her, and she spat and went blue. He wept. He lit her again and again, for one hour."
    you "Who put water in the oil?"
    s "The man who sold it. Four marks a barrel, when good oil is six. Crake was proud of the price."
    s "By the morning Crake knew. There was a page in the harbour book about that oil. Now there is the edge of a page."
    s "And the next page says that the keeper slept."
    menu jar_questions:
        "Who sold it?":
            s "Dann. He was married to Nell. Now you see why the stone stays in the wall."
            s "If I clear one name I dirty another. She has the inn, and the child has a roof. They did nothing wrong."
            jump jar_questions
        "Is Dann not dead?":
            s "Nell says that he was lost at sea. Let us say that he is lost. Harl is a good place to be lost in."
            s "You did not hear that from me. You did not hear it at all."
            jump jar_questions
        "Why have you kept it for twelve years?":
            s "Because it is true. Somebody ought to keep a true thing, even in a wall."
            jump jar_questions
        "Does Nell know about the jar?":
            s "No. She knows about the oil. She told me herself, and she cried into the bread. She does not know that I kept any."
            jump jar_questions
        "You should show it to everyone.":
            s "I light it in my head every night, that talk. Every night I get as far as Nell's face."
            jump jar_questions
        "I will say nothing.":
            s "I know. I watched you carry a full can up ninety-one steps and not spill. It is the same skill."
    "She puts the stone back, and wipes the dust from it with her sleeve."
    return

label the_basket:
    scene lamp room late
    you "The stone on the hill says eighteen. But you said nineteen, once."
    s "I did. I was tired. You have ears like a bat."
    you "Who was the nineteenth?"
    s "Is the door shut? Is Pip gone home? Look down the stairs and be sure."
    "The stairs are empty, but for the cat."
    s "Hob and I rowed out to the Teeth that night. There was wood, and wool, and nobody answered."
    s "Then there was a fish basket, floating as neat as a duck. It had a child in it, some months old, and very angry."
    s "Round her neck somebody had tied a brass button. It is from the captain's coat. The Heron had those, with a bird on them."
    you "Pip."
    s "I had no milk and a tower. Nell had a warm kitchen, and no child. We told the town that it was a niece from Harl."
    menu:
        "Why not tell her?":
            s "At first she was too small. Then she was happy. Now she is twelve, and I am a coward. I have trimmed that wick too short."
            s "I will tell her before she is keeper. A keeper should know what the lamp owes her."
        "Who else knows?":
            s "Hob, who rowed. Nell, who fed her. Me. Now you, and I am already sorry."
    s "She thinks that the button came from her mother. Perhaps it did. I do not know who tied it on."
    return

label hob_on_the_stairs:
    scene tower stairs
    hob "Eighty-eight. Eighty-nine. My knees say it was a hundred in your father's day."
    s "You could have sent the slate, Hob."
    hob "A slate cannot drink tea. Is there tea?"
    s "Black, and strong enough to stand on. Sit on the box."
    hob "I know where the box is. I sat on that box when you were in a cradle under the window."
    s "You taught me to row when I was six. You threw me in first."
    hob "A rower who has not been wet does not know what the boat is for."
    s "Hob. You knew her as well as anybody. Did she ever say where she meant to go?"
    hob "The tea is good."
    s "You always say that the tea is good."
    hob "An old man's memory is like an old net. It keeps the big fish, and it drops the ones you ask for."
    s "I think that yours has better knots than you say. But I left my grudges on step ten. Drink."
    return

label frost_warning:
    scene lamp room frost
    "There is ice on the inside of the glass. Sable holds her palm flat against the big lens."
    s "Feel that. No, lower. There is the crack. It came in the storm last autumn, when a slate from the Salt House roof hit us."
    you "Will it hold?"
    s "If I warm her slowly, an hour before dusk, and cool her slowly after dawn. I sleep an hour less. She does not break."
    crake "(at the foot of the stairs) Keeper! The lamp was lit early today! By forty minutes!"
    s "Cold glass and a hot flame, Crake! I warmed it! Write it in your book!"
    crake "Forty minutes of oil is three coppers a week!"
    s "A lens is two hundred marks! You count so well, so count that!"
    crake "It will be noted!"
    s "There. Now he is happy. He has noted something."
    return

label dawn:
    scene lamp room dawn
    "The window turns from black to grey to something almost pink. Sable waits until the edge of the sun is over the sea, and then turns down the flame."
    s "Rule two. Not before the sun is up. All of it, not half."
    you "Does it feel good, to put it out?"
    s "It feels like putting down a full bucket. Every morning I think that my arms will float."
    s "Now I wash the glass. Then bread, then bed. If the gun is on time, I get five hours."
    menu:
        "Thank you for letting me stay.":
            s "Do not thank me. You kept awake, you kept off the chair, and you did not whistle. You have paid."
        "Will you teach me more?":
            s "Come tomorrow, before the first star. Bring bread. I supply the dark."
        "Was it a good night?":
            s "Seven boats went out, and seven came back. There is no other kind of good."
    s "Go on down, [player]. {i}Mind step forty.{/i}"
    return
