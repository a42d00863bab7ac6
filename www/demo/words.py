"""Who, where and what: the vocabulary of the stories."""

# (name, pronoun set)
CHILDREN = [
    *((name, "she") for name in (
        "Mia", "Lily", "Anna", "Rosa", "Nora", "Ella", "Zoe", "Ivy", "Clara", "Ruby", "Hana", "Lucy", "Maya",
        "Tess", "Amina", "Freya", "Olga", "Pia", "Wren", "Sofia", "Ines", "June")),
    *((name, "he") for name in (
        "Tom", "Max", "Ben", "Leo", "Finn", "Sam", "Oscar", "Hugo", "Theo", "Jack", "Milo", "Noah", "Omar", "Luca",
        "Emil", "Arlo", "Kofi", "Otto", "Ravi", "Felix", "Jonas", "Paul")),
]
ANIMALS = [
    "fox", "rabbit", "mouse", "bear", "owl", "hedgehog", "squirrel", "duck", "frog", "badger", "cat", "puppy",
    "goat", "sparrow", "turtle", "otter", "beaver", "lamb", "crow", "deer",
]
ANIMAL_NAMES = [
    ("Pip", "he"), ("Dot", "she"), ("Bramble", "he"), ("Hazel", "she"), ("Moss", "he"), ("Poppy", "she"),
    ("Biscuit", "he"), ("Clover", "she"), ("Rusty", "he"), ("Willow", "she"), ("Nutmeg", "he"), ("Daisy", "she"),
    ("Pepper", "he"), ("Fern", "she"), ("Button", "he"), ("Plum", "she"),
]
ELDERS = [
    ("Grandma Rose", "she"), ("Grandpa Joe", "he"), ("Aunt Vera", "she"), ("Uncle Ned", "he"),
    ("the baker", "he"), ("the old sailor", "he"), ("the teacher", "she"), ("the gardener", "she"),
    ("the farmer", "he"), ("the shepherd", "he"), ("the librarian", "she"), ("the clockmaker", "he"),
]
TRAITS = [
    "curious", "brave", "shy", "cheerful", "quiet", "clever", "kind", "careful", "stubborn", "gentle", "lively",
    "patient", "dreamy", "busy", "honest",
]
# (with its preposition, bare, what one sees there)
PLACES = [
    ("in the forest", "the forest", ["The trees were tall and green.", "Soft moss grew on every stone.", "The path was narrow and full of roots."]),
    ("at the beach", "the beach", ["The waves rolled slowly over the sand.", "Shells lay everywhere.", "Gulls cried above the water."]),
    ("in the garden", "the garden", ["Bees hummed around the flowers.", "The roses smelled sweet.", "A small fountain sang in the middle."]),
    ("at the market", "the market", ["The stalls were full of fruit and bread.", "People talked and laughed.", "It smelled of apples and cheese."]),
    ("by the river", "the river", ["The water was clear and cold.", "Little fish flashed between the stones.", "A wooden bridge crossed the stream."]),
    ("on the hill", "the hill", ["The wind blew through the long grass.", "You could see the whole valley from there.", "Sheep rested in the sun."]),
    ("in the village", "the village", ["Smoke rose from the chimneys.", "The houses had red roofs.", "A bell rang in the tower."]),
    ("at the harbor", "the harbor", ["Boats rocked gently on the water.", "Ropes and nets lay on the stones.", "It smelled of salt and fish."]),
    ("in the barn", "the barn", ["The hay was warm and dry.", "Dust danced in the light.", "An old ladder led up to the roof."]),
    ("in the park", "the park", ["Children played on the grass.", "A band made music near the pond.", "The benches were painted white."]),
    ("in the library", "the library", ["The shelves reached up to the ceiling.", "It was very quiet.", "A lamp shone on every table."]),
    ("at the castle", "the castle", ["The walls were old and gray.", "A flag moved on the highest tower.", "Ivy climbed over the stones."]),
    ("by the lake", "the lake", ["The lake was as still as glass.", "Reeds whispered along the shore.", "A rowing boat waited at the pier."]),
    ("in the meadow", "the meadow", ["Butterflies flew from flower to flower.", "The grass was soft and high.", "A brook ran along the edge."]),
    ("at the mill", "the mill", ["The big wheel turned and turned.", "White flour covered the floor.", "The wood creaked in the wind."]),
    ("in the attic", "the attic", ["Old boxes stood in every corner.", "A round window let in some light.", "The boards creaked under every step."]),
    ("at the station", "the station", ["A green train waited on the track.", "The clock was large and round.", "People carried bags and boxes."]),
    ("in the orchard", "the orchard", ["The branches were heavy with pears.", "Ladders leaned against the trees.", "Wasps buzzed around the fallen fruit."]),
]
# (article, noun phrase); the noun is the last word
THINGS = [
    ("a", "red ball"), ("a", "silver key"), ("a", "paper boat"), ("a", "blue kite"), ("a", "small lantern"),
    ("a", "wooden horse"), ("a", "golden ring"), ("a", "glass marble"), ("a", "warm scarf"), ("a", "green hat"),
    ("a", "music box"), ("a", "tin whistle"), ("a", "brown basket"), ("a", "shiny coin"), ("a", "striped umbrella"),
    ("a", "little drum"), ("a", "soft blanket"), ("a", "magic stone"), ("a", "picture book"), ("a", "yellow balloon"),
    ("a", "honey cake"), ("a", "long rope"), ("a", "brass bell"), ("a", "white feather"), ("a", "toy train"),
    ("an", "old map"), ("an", "apple pie"), ("an", "ivory comb"), ("an", "orange bucket"), ("an", "empty jar"),
]
HIDING_SPOTS = [
    "under a bush", "behind a wall", "under the old bench", "between two stones", "in the tall grass", "behind a barrel",
    "under a pile of leaves", "near the fence", "in a hollow tree", "beside the well", "under the stairs", "in a puddle",
]
FEARS = [
    ("the dark", "It was only a lamp that had gone out."), ("thunder", "It was only the clouds talking."),
    ("the big dog", "The dog only wanted to play."), ("deep water", "The water carried them like a bed."),
    ("high places", "From up there the world was beautiful."), ("loud noises", "It was only a cart on the road."),
    ("the cold wind", "The wind only wanted to dance."), ("strangers", "The stranger only wanted to say hello."),
]
PROJECTS = [
    ("a bird house", "The roof fell off."), ("a raft", "The raft sank."), ("a big cake", "The cake burned."),
    ("a tree house", "The floor broke."), ("a snowman", "The head rolled away."), ("a swing", "The rope snapped."),
    ("a scarecrow", "The wind blew it over."), ("a little bridge", "The boards slipped."), ("a pot of soup", "It was far too salty."),
    ("a sand castle", "A wave washed it away."), ("a puppet", "The strings got tangled."), ("a flower crown", "The stems broke."),
]
TROUBLES = [
    ("was stuck in a fence", "opened the fence with care"), ("had a thorn in its paw", "pulled out the thorn"),
    ("was hungry and cold", "gave it bread and a blanket"), ("had lost its mother", "followed the tracks back to its mother"),
    ("had fallen into a hole", "let down a rope and pulled it up"), ("was caught in a net", "cut the net"),
    ("could not fly anymore", "made it a nest and fed it for a week"), ("was lost in the rain", "carried it home under a coat"),
]
TIMES = [
    "One morning", "One day", "One sunny afternoon", "On a rainy day", "One evening", "Early in the morning",
    "On a cold winter day", "On the first day of spring", "One windy day", "Late in the summer", "On a quiet Sunday",
    "One foggy morning",
]
GOOD_FEELINGS = ["happy", "proud", "glad", "thankful", "excited", "calm", "joyful", "cheerful"]
BAD_FEELINGS = ["sad", "worried", "upset", "lonely", "afraid", "angry", "tired", "ashamed"]
