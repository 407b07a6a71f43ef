"""The words of the toy corpus, by what they have an affinity to.

A class marked *key* holds words that decide an attachment; the other words are few, so that a
small treebank shows all of them. No word is in two classes. All verbs are regular.
"""

# ------------------------------------------------------- prepositions and their nouns (key)
NOUNS = {
    "tool": "hammer spoon chisel brush shovel ladle wrench rake needle sponge broom trowel "
    "mallet spatula scalpel crowbar sickle poker",
    "feature": "beard scar limp tattoo dimple freckle moustache ponytail wrinkle tail horn "
    "mane birthmark squint stutter wart lisp blemish",
    "place": "village harbour valley desert forest meadow canyon swamp garden street park "
    "alley cave lagoon plaza orchard courtyard vineyard",
    "garment": "coat scarf bonnet cloak apron jacket kilt robe shawl sweater tunic poncho "
    "blouse gown turban vest tuxedo raincoat",
    "furniture": "table cupboard bench sofa shelf dresser desk bed stool wardrobe bunk cradle "
    "hammock mattress couch pedestal armchair ottoman",
    "region": "island suburb province prairie county colony coast kingdom peninsula frontier "
    "district borough hamlet highland continent outback tundra capital",
    "event": "wedding auction festival parade funeral banquet concert eclipse election "
    "harvest rehearsal tournament picnic carnival regatta coronation raffle seance",
    "institution": "museum bank school hospital library brewery embassy theatre court "
    "monastery university factory ministry gallery laboratory casino hotel abbey",
    "vehicle": "tram ferry bus bicycle canoe carriage sled taxi train gondola rickshaw "
    "scooter subway trolley minibus raft kayak airship",
    "maker": "poet painter composer sculptor novelist weaver potter tailor architect jeweller "
    "playwright engraver calligrapher songwriter cartoonist blacksmith glassblower cobbler",
}
# Preposition: the class of its object if it hangs on the verb, the role of the object there, and
# the class of its object if it hangs on the noun.
PREPOSITIONS = {
    "with": ("tool", "ARG2", "feature"),  # praised the clerk with a spoon; a clerk with a beard
    "in": ("place", "LOC", "garment"),  # praised the clerk in a valley; a clerk in a shawl
    "from": ("furniture", "LOC", "region"),  # lifted the hen from a table; a hen from an island
    "at": ("event", "TIME", "institution"),  # praised the clerk at a wedding; a clerk at a bank
    "by": ("vehicle", "MOD", "maker"),  # visited the nurse by ferry; an engine by a blacksmith
}

# ------------------------------------------------------- relative clauses: beings and what they do
BEINGS = {  # persons have animals and machines
    "person": "clerk farmer nurse sailor baker pilot teacher neighbour",
    "animal": "dog goat horse parrot cat donkey hen otter",
    "machine": "engine printer tractor heater scanner pump mower drone",
}
DOINGS = {  # key
    "person": "argue joke confess resign apologize gossip bargain vote retire protest lecture "
    "boast negotiate blush complain gamble improvise flirt volunteer bicker pray graduate "
    "testify procrastinate daydream sulk emigrate compromise plead bluff curtsy smirk "
    "campaign abdicate shrug elope",
    "animal": "bark purr growl moo bleat neigh cluck hiss graze nest molt gallop pounce "
    "burrow sniff hibernate peck cackle whinny roost slither drool bray meow chirp quack trot "
    "croak howl snort forage flutter waddle hoot gobble nuzzle",
    "machine": "hum rattle overheat jam beep idle rust stall leak backfire reboot whir "
    "misfire vibrate clank sputter corrode flicker tick recharge malfunction buzz defrost "
    "overload derail clog creak chug crackle glitch ping pulsate shudder throb smoke "
    "oscillate",
}

# ------------------------------------------------------- coordination: vessels and contents
FIRST = {
    "vessel": "crate basket sack jar tray bowl box tin",
    "content": "plum pear nut fig onion bean cherry olive",
}
SECOND = {  # key
    "vessel": "bucket tub hamper pouch satchel trunk casket keg flask bottle canister carton "
    "chest jug pitcher pail punnet packet parcel bin vat urn pot pan trough coffer wallet "
    "purse envelope cylinder tank bundle wagon barrel drum",
    "content": "apple peach lemon melon carrot leek tomato potato almond walnut lentil pepper "
    "grape berry apricot lime quince parsnip beet cabbage cucumber mushroom chestnut raisin "
    "currant mango papaya banana orange pea squash pumpkin shallot acorn cashew",
}

# ------------------------------------------------------- adverbs: verbs and manners
VERBS = {  # main verbs are of the first and third kind, verbs after `while` of the second
    "handling": "greet follow praise notice help watch lift carry visit paint touch admire",
    "motion": "march climb jump skip stumble wander hurry dash",
    "voice": "shout whisper mumble yell chant giggle wail mutter",
}
MANNERS = {  # key
    "handling": "gently fondly carefully warily eagerly politely deftly tenderly gingerly "
    "patiently kindly cautiously proudly firmly sternly graciously discreetly dutifully "
    "attentively lovingly skilfully diligently meekly courteously thoughtfully calmly "
    "tactfully respectfully approvingly solemnly studiously reverently daintily "
    "sympathetically delicately hospitably",
    "motion": "swiftly briskly nimbly sluggishly northward uphill downhill aimlessly barefoot "
    "clumsily backwards sideways hastily speedily rapidly slowly forward upstairs downstairs "
    "homeward southward zigzag onward breathlessly inland westward eastward outward overland "
    "lengthwise headlong upstream downstream crosswise seaward uptown",
    "voice": "loudly hoarsely shrilly faintly audibly softly noisily tunefully huskily "
    "melodiously stridently gruffly indistinctly squeakily deafeningly harshly inaudibly "
    "raucously sonorously throatily nasally monotonously thunderously croakily vocally "
    "vociferously boomingly quietly discordantly resonantly lispingly gutturally articulately "
    "jarringly musically piercingly",
}

# ------------------------------------------------------- the rest decides nothing
OPENINGS = {"TIME": "yesterday today recently", "LOC": "outdoors abroad nearby"}
ADJECTIVES = "old red tall quiet clever tired happy small brave pale muddy famous"
DETERMINERS = "the the the this every some"

VOWELS = "aeiou"


def past(verb: str) -> str:
    """The past tense of a regular verb: rusted, argued, testified, hummed, prayed."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    short = sum(letter in VOWELS for letter in verb) == 1 and verb[-2] in VOWELS
    return verb + (verb[-1] if short and verb[-1] not in "wxy" else "") + "ed"


def plural(noun: str) -> str:
    """The plural of a regular noun: plums, cherries, radishes, potatoes."""
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh", "o")) else "s")
