"""Small word lists and inflection rules: how short English descriptions are read without a language model.

The lists are ours and deliberately small: function words, words that say nothing about a picture, people without a
role, places, and some 450 verbs of visible movement. They make the offline route possible, not clever: a verb that is
not listed is taken for a noun. For anything better, give `hf-zsar describe` a language model.
"""

from __future__ import annotations

from functools import lru_cache

from hf_zsar.processing.action_graph import gerund


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    """
    a an the this that these those its their his her your my our one's some any each every both all several many few
    another other no more most enough one two three four five six seven eight nine ten half
    """
)
PREPOSITIONS = _words(
    """
    about above across against along among around as at before behind below beneath beside between beyond by down
    during for from in inside into like near of off on onto out outside over past per since through throughout to
    toward towards under underneath up upon via with within without
    """
)
CONJUNCTIONS = _words("and or but then while when so because if though although once after nor until")
PRONOUNS = _words(
    """
    he she it they we you i him them us me who whom which what where himself herself itself themselves oneself
    something someone somebody anyone everyone anything everything others there
    """
)
AUXILIARIES = _words(
    """
    is are was were be been being am has have had having do does did can could may might will would shall should
    must isn't aren't doesn't don't not
    """
)
ADVERBS = _words(
    """
    again ahead almost alone also always apart away back backward backwards downward downwards early even ever far
    fast first forth forward forwards hard here high home just late left less low maybe much never now often only
    overhead perhaps quite rather right sideways sometimes soon still straight together too twice upright upward
    upwards very well yet aloud afloat aside onward usually especially typically
    """
)
# Adverbs that are adjectives in front of a noun.
ADJECTIVE_ADVERBS = _words("back early far fast first forward front hard high home just late left low right straight")
# Enough to read a row of adjectives with commas ("a small, thin beam").
ADJECTIVES = _words(
    """
    big black blue bright brown dark deep dry fast flat full green grey heavy high hot large light little long loud
    low narrow new old open red round sharp short slow small smooth soft strong tall thick thin tiny wet white wide
    yellow young
    """
)
NOT_ADVERBS = _words(
    """
    belly family fly jelly bully lily rally ally curly woolly hilly friendly lovely butterfly assembly
    """
)

# People who are only there because every action has somebody: no attribute, no object.
ANYBODY = _words(
    """
    person persons people man men woman women human humans someone somebody one individual individuals adult adults
    guy body performer performers participant participants group anyone others player's person's you they he she it
    """
)
# People with a part in the action, beyond what the endings of `is_person` tell.
ROLES = _words(
    """
    athlete athletes boy boys couple couples chef chefs child children cook cooks crew friend friends girl girls kid
    kids opponent opponents parent parents pilot pilots pair team teenager teenagers woman women ballerina
    """
)
# Things on -er, -or, -ian, -man.
_NOT_PEOPLE = _words(
    """
    armor barrier batter blender bumper butter center colour computer copper corner counter cover cucumber cylinder
    door drawer feather finger fingers floor flour flower hammer helicopter hanger ladder leather lever letter
    letters liquor lumber mirror mixer motor number oar order paper pepper player-piano poster powder propeller
    razor river roller rubber scooter shower shoulder shoulders snooker sugar sweater timber toaster tower tractor
    trailer trainer trainers water
    """
)
# Words that no frame shows. Plain keyword extraction on dictionary text is full of them.
FILLERS = _words(
    """
    act action actions activity activities aim amount area art attempt basis beginning case chance combination
    contest course degree different direction directions easy effect effort end event example exercise fact form
    forms fun goal good great help idea important improvised instance item items kind kinds length level long lot
    main manner mass matter means method mood movement movements motion motions moment new next number object
    objects often order other part parts particular piece place point position positions practice process purpose
    real related repeated result same second seconds series set several short side sides similar simple single size
    small something sort special sport state step such taking thing things third time times top turn turns type
    types use used using usual variety various view way ways whole work balance pace rhythm beat front rest speed
    force distance height weight air ground one's other's tempo meaning meanings word words language style styles
    """
)
PLACES = _words(
    """
    alley arena backyard bank bar bathroom beach bedroom boulevard bridge canyon cave city classroom cliff club
    coast counter court courtyard desert dojo field floor forest garage garden green gym gymnasium hall hallway
    harbour hill home house ice kitchen lake lane lawn mat meadow mountain mountains ocean office park path pavement
    pier pitch playground pool porch range ramp ravine restaurant ring rink river road roof room sand school sea
    shore sidewalk sky slope snow stadium stage stair staircase stairs stream street studio surf theatre track
    trail valley wall water waves wood woods workshop yard
    """
)

_VERBS = _words(
    """
    add aim applaud apply approach arch arrange assemble attach balance bake bang bark bat bathe beat begin bend
    bike bind bite blend blink block blow board boil bounce bow bowl box braid brake breathe bring brown brush build
    bump burn bury button buy call carry carve cast catch celebrate chase cheer chew chop circle clap clean clear
    clench climb cling clip close collect come comb connect contract cook cool cover crack crawl cross crouch crush
    cry cuddle curl cut dab dance dash deal decorate descend dig dip direct dive divide do dodge drag drape draw
    dress dribble drift drill drink drip drive drop drum dry duck dump dunk dust eat embrace empty enter exchange
    exhale expel extend face fall fan fasten feed feel fence fetch fight fill film fire fish fit fix flap flatten
    flex flick fling flip float flow fly fold follow form frame fry gallop gather gaze get give glide glue grab
    grasp grate greet grill grind grip groom grow guide hammer hang haul heat hike hit hoist hold hook hop
    hug hurdle hurl imitate inflate inhale insert iron jab jog join juggle jump keep kick kiss knead kneel knit
    knock land laugh launch lay lead lean leap leave let lick lie lift light line link load lock look loop lower
    make march mark massage match measure meet melt mix mop mount mouth move mow nail nod open operate pack paddle
    paint park pass pat paste pause pedal peel perform pet pick pierce pile pin pinch pitch place plant play plough
    pluck plunge point poke polish pop pose pound pour powder practise prepare press propel protect pull pump punch
    push put race raise rake rattle reach read rebound receive reel release remove repeat rest return ride rinse rip
    rise roast rock roll rotate row rub run rush sail salute saw scatter scoop score scrape scratch screw scrub
    sculpt search season seize separate serve set sew shake shape sharpen shave shift shoot shout shove
    show shuffle sidestep sign sing sink sip sit skate sketch ski skip slap slice slide slip smear smell smile smoke
    smooth snap snatch sneeze soar sort spar spear spin spit splash split spray spread spring sprinkle sprint squat
    squeeze stack stamp stand stare start steer step stick stir stitch stop strap stretch stride strike strip stroke
    stroll strum study surf swallow sway sweep swerve swim swing swipe swirl swivel tackle tag take talk tangle tap
    taste tear tease throw thrust tie tighten tilt tip toast toss touch tow trace trade travel tread trim trip trot
    tuck tug tumble turn twirl twist type uncover unfold unroll use vault veer wag wait walk warm wash watch water
    wave wear weave weld whip whirl whisk whisper whistle wield wind wink wipe work wrap wrestle write yawn yell
    """
)
# Verbs that are nouns at least as often; they need a clearer context to be read as verbs.
NOUNY = _words(
    """
    arch bat beat bike blow board bounce bow bowl box brake braid brush bump button call cast catch circle clip cook
    cover crack cross curl cut dance deal dip dive draw dress drill drink drip drive drop drum duck dust face
    fan fence fight film fire fish fold form frame glue grill grip hammer hang heat hike hit hook hop hug
    hurdle iron jab jump kick kiss knock land laugh lead leap lift light line link load lock look loop march mark
    massage match measure mix mop mount mouth move nail pack paddle paint park pass paste pedal pet pick pile pin
    pitch place plant play point pose pound powder press pull pump punch push race rake reel rest return ride
    rip rise roast rock roll row run sail salute saw scoop score scratch screw season serve set shape shift show
    sign sink sip ski skate sketch skip slap slice slide slip smell smile smoke snap sort spin split spray
    spread spring sprint squat stack stamp stand start step stick stitch stop strap stretch stride strike
    strip stroke stroll study surf sweep swim swing tackle tag talk tap taste tear throw tie tip toast touch tow
    trace trade travel trim trip trot tuck turn twist type use vault wait walk wash watch water wave
    whip whisk whisper whistle wind wink work wrap
    """
)
# Of these, the ones that name things: in "pads, gloves and bats" the last word is no verb.
THINGS = _words(
    """
    bat bike board bow bowl box brake braid brush bump button cast circle clip cook cover crack dress drill drink
    drum duck fan fence film fire fish frame glue grill hammer hook hurdle iron light line link lock loop
    mop mount mouth nail pack paddle paint park paste pedal pet pile pin pitch plant point powder rake reel
    rock sail saw scoop screw sign sink sketch ski skate spray spring stack stamp stick strap strip surf
    tackle tag tie toast vault watch water whip whisk whistle wrap face
    """
)
# Verbs that only introduce another one: "begins to run", "keeps moving".
CATENATIVES = _words("begin start keep stop try continue help let come go get repeat practise perform")
# Visible but empty without what they act on: never a sub-action or an attribute alone.
LIGHT_VERBS = _words(
    """
    make do use give put set get have let form place wear come bring work keep follow repeat show
    """
)

_IRREGULAR = {
    base: forms.split()
    for base, forms in {
        "begin": "began begun", "bend": "bent", "bind": "bound", "bite": "bit bitten", "blow": "blew blown",
        "bring": "brought", "build": "built", "buy": "bought", "catch": "caught", "come": "came",
        "dig": "dug", "do": "done", "draw": "drew drawn", "drink": "drank drunk", "drive": "drove driven",
        "cut": "cut", "put": "put", "set": "set", "hit": "hit", "let": "let", "split": "split", "spread": "spread",
        "thrust": "thrust", "hide": "hid hidden", "read": "read", "cast": "cast",
        "eat": "ate eaten", "fall": "fell fallen", "feed": "fed", "feel": "felt", "fight": "fought", "fling": "flung",
        "fly": "flew flown", "get": "got gotten", "give": "gave given", "grind": "ground", "grow": "grew grown",
        "hang": "hung", "hold": "held", "keep": "kept", "kneel": "knelt", "lay": "laid", "lead": "led",
        "leap": "leapt",
        "leave": "left", "lie": "lay lain", "light": "lit", "make": "made", "meet": "met", "ride": "rode ridden",
        "rise": "rose risen", "run": "ran", "see": "saw seen", "sew": "sewn", "shake": "shook shaken", "shoot": "shot",
        "show": "shown", "sing": "sang sung", "sink": "sank sunk", "sit": "sat", "slide": "slid", "spin": "spun",
        "spring": "sprang sprung", "stand": "stood", "stick": "stuck", "strike": "struck", "sweep": "swept",
        "swim": "swam swum", "swing": "swung", "take": "took taken", "tear": "tore torn", "throw": "threw thrown",
        "wear": "wore worn", "weave": "wove woven", "wind": "wound", "write": "wrote written",
    }.items()
}  # fmt: skip
_BASE_OF = {form: base for base, forms in _IRREGULAR.items() for form in forms}
_BASE_OF |= {"lying": "lie", "tying": "tie", "dying": "die", "flies": "fly"}
# Inflected forms that are another word far more often.
_ALWAYS_PLURAL = _words("scissors glasses trousers jeans shorts goggles pants tongs clothes news tennis")
_NO_VERB = _words(
    """
    ground left saw bound bit glasses ring king string evening wing building ceiling clothing meeting
    """
)


@lru_cache(maxsize=8192)
def verb_base(word: str) -> str | None:
    """The base form of a listed verb in any inflection (lower case), else None: "gripping" -> "grip"."""
    if word in _NO_VERB:
        return None
    if word in _VERBS:
        return word
    if word in _BASE_OF:
        return _BASE_OF[word]
    candidates: list[str] = []
    for suffix in ("ies", "ied"):
        if word.endswith(suffix):
            candidates.append(word[:-3] + "y")
    for suffix in ("es", "ed", "ing", "s", "d"):
        if word.endswith(suffix) and len(word) > len(suffix) + 1:
            stem = word[: -len(suffix)]
            candidates += [stem, stem + "e"] if suffix in ("ing", "ed") else [stem]
            if suffix in ("ing", "ed") and len(stem) > 2 and stem[-1] == stem[-2]:
                candidates.append(stem[:-1])
    return next((candidate for candidate in candidates if candidate in _VERBS), None)


def strip_third_person(word: str) -> str:
    """ "hides" -> "hide", "sniffs" -> "sniff", for verbs that are not listed."""
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")) else word[:-1]


def strip_ing(word: str) -> str:
    """ "sniffing" -> "sniff", "hiding" -> "hide" (a guess), for verbs that are not listed."""
    root = word[:-3]
    if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsfz":
        return root[:-1]
    short = len(root) <= 4 and root[-1] in "dkmnptvgz" and root[-2] in "aiou" and root[-3] not in "aeiou"
    return root + "e" if short or root.endswith(("at", "iz", "c", "v", "rg", "dg", "ng")) else root


def past_participle(base: str) -> str:
    """ "draw" -> "drawn", "grab" -> "grabbed", "carry" -> "carried"."""
    if base in _IRREGULAR:
        return _IRREGULAR[base][-1]
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2:-1] not in "aeiou":
        return base[:-1] + "ied"
    return gerund(base).removesuffix("ing") + "ed"


def third_person(base: str) -> str:
    """ "carry" -> "carries", "push" -> "pushes", "draw" -> "draws"."""
    if base.endswith("y") and base[-2:-1] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


@lru_cache(maxsize=8192)
def singular(noun: str) -> str:
    """A guess at the singular: "knives" -> "knife", "brushes" -> "brush", "grass" -> "grass"."""
    irregular = {"feet": "foot", "teeth": "tooth", "men": "man", "women": "woman", "people": "person"}
    irregular |= {"knives": "knife", "leaves": "leaf", "shelves": "shelf", "children": "child", "knees": "knee"}
    if noun in irregular:
        return irregular[noun]
    if noun in _ALWAYS_PLURAL or noun.endswith(("ss", "us", "is")) or not noun.endswith("s") or len(noun) < 4:
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "sses", "xes", "oes")):
        return noun[:-2]
    return noun[:-1]


def stem(word: str) -> str:
    """What two forms of one word share, good enough to see that "dancers", "dancing" and "dance" repeat each other."""
    word = word.lower()
    base = verb_base(word) or singular(word)
    for suffix in ("ers", "er", "ors", "or"):
        if word.endswith(suffix) and verb_base(word[: -len(suffix)] + "ing"):
            return verb_base(word[: -len(suffix)] + "ing") or base
    return base


def is_person(noun: str) -> bool:
    """Whether a noun (lower case) is somebody, by list and ending: "archer", "musician", "batsman"."""
    one = singular(noun)
    if noun in ANYBODY or noun in ROLES or one in ROLES:
        return True
    return (
        one not in _NOT_PEOPLE
        and noun not in _NOT_PEOPLE
        and one.endswith(("er", "or", "ist", "ian", "man", "woman", "men", "women"))
    )


def is_function_word(word: str) -> bool:
    """Whether a (lower-case) word carries no content of its own."""
    return (
        word in DETERMINERS
        or word in PREPOSITIONS
        or word in CONJUNCTIONS
        or word in PRONOUNS
        or word in AUXILIARIES
        or is_adverb(word)
    )


def is_adverb(word: str) -> bool:
    """Listed adverbs, and words on -ly that are not nouns or adjectives."""
    return word in ADVERBS or (word.endswith("ly") and len(word) > 4 and word not in NOT_ADVERBS)
