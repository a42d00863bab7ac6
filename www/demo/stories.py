"""Little stories from a grammar: a plot with consistent people, places and things, told with many
variations. `Story` keeps the facts, so that tasks (see tasks.py) can ask for them."""

import random
from dataclasses import dataclass

from words import (ANIMAL_NAMES, ANIMALS, BAD_FEELINGS, CHILDREN, ELDERS, FEARS, GOOD_FEELINGS, HIDING_SPOTS, PLACES,
                   PROJECTS, THINGS, TIMES, TRAITS, TROUBLES)

PRONOUNS = {"she": ("she", "her", "her"), "he": ("he", "him", "his")}


@dataclass
class Person:
    """Somebody in a story."""
    name: str
    kind: str  # "girl", "boy" or an animal
    pronoun: str

    @property
    def subject(self):
        return PRONOUNS[self.pronoun][0]

    @property
    def object(self):
        return PRONOUNS[self.pronoun][1]

    @property
    def possessive(self):
        return PRONOUNS[self.pronoun][2]


@dataclass
class Story:
    """A story and what is true in it."""
    hero: Person
    friend: Person
    place: str
    thing: str
    feeling: str
    plot: str
    sentences: list

    @property
    def text(self):
        return " ".join(self.sentences)

    @property
    def request(self):
        """A prompt that asks for this story."""
        return f"Tell a story about {self.hero.name} and {self.thing}.\n"

    @property
    def noun(self):
        """The thing without its article."""
        return self.thing.split(" ", 1)[1]


def cap(text):
    return text[0].upper() + text[1:]


class Teller:
    """Draws one story's parts and tells it."""

    def __init__(self, rng):
        self.rng = rng
        pick = rng.choice
        self.hero, self.friend = self.person(), self.person()
        while self.friend.name == self.hero.name:
            self.friend = self.person()
        name, pronoun = pick(ELDERS)
        self.elder = Person(name, "grown-up", pronoun)
        self.where, self.place, self.sights = pick(PLACES)
        article, self.thing = pick(THINGS)
        self.a_thing = f"{article} {self.thing}"
        self.trait, self.time = pick(TRAITS), pick(TIMES)
        self.good, self.bad = pick(GOOD_FEELINGS), pick(BAD_FEELINGS)

    def person(self):
        if self.rng.random() < 0.6:
            name, pronoun = self.rng.choice(CHILDREN)
            return Person(name, "girl" if pronoun == "she" else "boy", pronoun)
        name, pronoun = self.rng.choice(ANIMAL_NAMES)
        return Person(name, self.rng.choice(ANIMALS), pronoun)

    def one(self, *choices):
        return self.rng.choice(choices)

    def maybe(self, share, *choices):
        return [self.rng.choice(choices)] if self.rng.random() < share else []

    # Parts that every plot shares.

    def opening(self):
        h, article = self.hero, "an" if self.trait[0] in "aeiou" else "a"
        lives = self.one(f"who lived near {self.place}", f"who loved {self.place}", f"who lived in a small house near {self.place}")
        first = self.one(
            f"Once upon a time there was {article} {self.trait} {h.kind} named {h.name} {lives}.",
            f"There was once {article} {self.trait} {h.kind} called {h.name}, {lives}.",
            f"{h.name} was {article} {self.trait} {h.kind} {lives}.")
        return [first, *self.maybe(0.4, f"Everybody liked {h.object}.", f"{cap(h.possessive)} best friend was {self.friend.name}.",
                                   f"{cap(h.subject)} was never bored.", f"Every day {h.subject} learned something new.")]

    def scene(self):
        weather = ["The sun was shining.", "The sky was gray.", "A soft wind was blowing.", "It had rained all night.",
                   "The air was fresh and clear.", "Clouds moved slowly over the sky."]
        return [*self.maybe(0.6, *self.sights), *self.maybe(0.3, *weather)]

    def ending(self):
        h, f = self.hero, self.friend
        return [
            self.one(f"{h.name} was very {self.good}.", f"In the end {h.name} felt {self.good}.",
                     f"{h.name} smiled and felt {self.good}.", f"That night {h.name} went to bed and felt {self.good}."),
            *self.maybe(0.5, f"{h.name} and {f.name} stayed friends forever.", "They all laughed and went home together.",
                        f"And {h.name} never forgot that day.", "Then they ate bread and honey until the stars came out.",
                        "From then on they met there every week.")]

    def said(self, person, words):
        verb = self.one("said", "said", "answered", "whispered", "called")
        before = words[:-1] + "," if words.endswith(".") else words
        return self.one(f'"{before}" {verb} {person.name}.', f'{cap(person.name)} {verb}, "{words}"')

    # Plots.

    def lost(self):
        h, f = self.hero, self.friend
        spots = self.rng.sample(HIDING_SPOTS, 3)
        found = self.one(f"{f.name} looked {spots[2]}, and there it was!", f"Then {f.name} saw something {spots[2]}. It was the {self.thing}!",
                         f"At last {f.name} found the {self.thing} {spots[2]}.")
        return [
            self.one(f"{h.name} had {self.a_thing} and took it everywhere.", f"{cap(h.possessive)} greatest treasure was {self.a_thing}."),
            self.one(f"{self.time} {h.subject} played {self.where}.", f"{self.time} {h.subject} walked {self.where}."), *self.scene(),
            self.one(f"Suddenly the {self.thing} was gone.", f"But when {h.subject} looked for the {self.thing}, it was not there."),
            self.one(f"{h.name} was {self.bad}.", f"{h.name} felt {self.bad} and began to cry."),
            self.one(f"{cap(h.subject)} looked {spots[0]} and {spots[1]}, but found nothing.", f"It was not {spots[0]}. It was not {spots[1]}."),
            self.one(f"{f.name} came by.", f"Then {h.possessive} friend {f.name} the {f.kind} came along.") if f.kind in ANIMALS else f"Then {f.name} came by.",
            self.said(f, self.one("Do not worry, I will help you.", "Let us look together.", "Two can see more than one.")), found,
            self.said(h, self.one("Thank you! You are a true friend.", "You found it! Thank you!", "I will take better care of it now."))]

    def returned(self):
        h, e, spot = self.hero, self.elder, self.rng.choice(HIDING_SPOTS)
        return [
            f"{self.time} {h.subject} went for a walk {self.where}.", *self.scene(),
            self.one(f"There, {spot}, lay {self.a_thing}.", f"{cap(h.subject)} found {self.a_thing} {spot}."),
            self.one(f"{h.name} wanted to keep it.", f"It was so beautiful that {h.name} wanted to keep it."),
            self.one(f"But then {h.subject} saw that {e.name} looked {self.bad}.", f"But not far away {e.name} was {self.bad} and searched the ground."),
            self.said(e, f"I have lost my {self.thing}."), self.one(f"{h.name} thought for a moment.", f"{h.name} took a deep breath."),
            self.said(h, self.one(f"I have found it. Here it is.", f"Is this your {self.thing}?")),
            self.one(f"{cap(e.name)} was so glad that {e.subject} gave {h.object} a big hug.", f"{cap(e.name)} thanked {h.object} and gave {h.object} a sweet plum.")]

    def built(self):
        h, f, (project, failure) = self.hero, self.friend, self.rng.choice(PROJECTS)
        return [
            self.one(f"{self.time} {h.name} wanted to make {project} {self.where}.", f"{self.time} {h.subject} had an idea. {cap(h.subject)} would make {project} {self.where}."),
            *self.scene(), self.one(f"{cap(h.subject)} worked all day with {self.a_thing} at {h.possessive} side.", f"{cap(h.subject)} put down {h.possessive} {self.thing} and began."),
            self.one(f"But it was hard. {failure}", f"{failure} {h.name} did not know why."), f"{h.name} was {self.bad}.",
            self.said(f, self.one("Try again, and try it slowly.", "Nobody can do it the first time.", "Let me hold it while you work.")),
            self.one(f"So {h.name} tried again, and {f.name} helped.", f"Together {h.name} and {f.name} began once more."),
            self.one("This time it worked!", "After a while it was done, and it was perfect.", "The second one was much better.")]

    def feared(self):
        h, f, (fear, truth) = self.hero, self.friend, self.rng.choice(FEARS)
        return [
            f"But {h.name} was afraid of {fear}.", f"{self.time} {h.name} and {f.name} were {self.where}.", *self.scene(),
            self.one(f"{h.name} held {h.possessive} {self.thing} tight and felt {self.bad}.", f"{h.name} felt {self.bad} and hid behind {h.possessive} {self.thing}."),
            self.said(f, self.one("Take my hand. We will go together.", "I am a little afraid too.", "Count to three and look again.")),
            self.one(f"{h.name} took one small step, and then another.", f"Slowly {h.name} opened {h.possessive} eyes."), truth,
            self.said(h, self.one("That was not so bad!", "I did it!", "Look how brave I am!"))]

    def shared(self):
        h, f = self.hero, self.friend
        return [
            f"{self.time} {h.name} and {f.name} found {self.a_thing} {self.where}.", *self.scene(), self.said(h, "It is mine! I saw it first."),
            self.said(f, self.one("No, it is mine!", "But I want it too!")), self.one(f"They pulled and pulled until both were {self.bad}.", f"They did not talk for an hour, and both felt {self.bad}."),
            self.one(f"Then {self.elder.name} came by and asked what was wrong.", f"{cap(self.elder.name)} heard the noise and came closer."),
            self.said(self.elder, self.one("A thing is more fun when you share it.", "One day for you, one day for your friend.", "Friends are better than things.")),
            self.one(f"{h.name} gave the {self.thing} to {f.name}.", f"So they took turns with the {self.thing}."), self.said(f, self.one("Thank you. Now it is your turn.", "Let us play together."))]

    def rescued(self):
        h, (trouble, help_), animal = self.hero, self.rng.choice(TROUBLES), self.rng.choice(ANIMALS)
        article = "an" if animal[0] in "aeiou" else "a"
        return [
            f"{self.time} {h.subject} carried {self.a_thing} {self.where}.", *self.scene(), self.one("Then there was a strange sound.", "Suddenly somebody cried for help."),
            f"It was {article} {animal} that {trouble}.", self.one(f"It looked so {self.bad}.", f"The poor {animal} was {self.bad}."),
            self.said(h, self.one("Do not be afraid. I will help you.", "Wait, little one, I am coming.")),
            self.one(f"{cap(h.subject)} put down the {self.thing} and {help_}.", f"Without waiting {h.name} {help_}."),
            self.one(f"The {animal} danced around {h.object}.", f"From that day on the {animal} followed {h.object} everywhere.", f"The {animal} looked at {h.object} and seemed to smile.")]

    def raced(self):
        h, f = self.hero, self.friend
        return [
            f"{self.time} there was a race {self.where}.", *self.scene(), f"The prize was {self.a_thing}.", self.said(f, self.one("I am the fastest. I will win.", "Nobody can run like me.")),
            self.one(f"{h.name} felt {self.bad}, but {h.subject} ran as well as {h.subject} could.", f"{h.name} was {self.bad}, but {h.subject} did not give up."),
            self.one(f"Near the end {f.name} stopped to rest.", f"Then {f.name} fell over a root.", f"But {f.name} ran the wrong way."),
            self.one(f"{h.name} could win now, but {h.subject} stopped and helped {f.name} up.", f"{h.name} ran past and came in first."),
            self.one(f"So {h.name} got the {self.thing}, and everybody clapped.", f"They got the {self.thing} together, and everybody clapped."),
            self.said(f, self.one("You are the real winner.", "Next time I will run with you."))]

    def gave(self):
        h, f = self.hero, self.friend
        return [
            f"It was {f.name}'s birthday.", f"{self.time} {h.name} looked for a present {self.where}.", *self.scene(),
            self.one(f"{cap(h.subject)} had no money and was {self.bad}.", f"Everything cost too much, and {h.subject} felt {self.bad}."),
            self.one(f"Then {self.elder.name} asked for help, and {h.name} worked until noon.", f"So {h.name} helped {self.elder.name} all morning."),
            self.one(f"As a thank you {h.subject} got {self.a_thing}.", f'"Take this," {self.elder.name} said, and gave {h.object} {self.a_thing}.'),
            self.one(f"{h.name} wrapped it in paper and ran to {f.name}.", f"{h.name} hid it behind {h.possessive} back and knocked on the door."),
            self.said(f, self.one("It is the best present of all!", f"A {self.thing.split()[-1]}! How did you know?", "Thank you, I love it."))]

    def hunted(self):
        h, f = self.hero, self.friend
        spots = self.rng.sample(HIDING_SPOTS, 2)
        return [
            f"{self.time} {h.subject} found a letter. It said: Look {spots[0]} {self.where}.", self.one(f"{h.name} called {f.name}, and they set off.", f"{h.name} and {f.name} ran there at once."),
            *self.scene(), f"But {spots[0]} there was only another letter. It said: Look {spots[1]}.", self.one(f"{f.name} was tired, but {h.name} wanted to go on.", f"{h.name} was {self.bad}, but {f.name} wanted to go on."),
            self.one(f"And there, {spots[1]}, was {self.a_thing}!", f"They dug {spots[1]} and found {self.a_thing}!"),
            self.one(f"It was a game that {self.elder.name} had made for them.", f"{cap(self.elder.name)} came out and laughed. It was a game for them."),
            self.said(h, self.one("That was the best day of my life!", "Can we play it again?"))]

    def story(self):
        plot = self.rng.choice([self.lost, self.returned, self.built, self.feared, self.shared, self.rescued, self.raced, self.gave, self.hunted])
        body = plot()
        sentences = [*self.opening(), *body, *self.ending()]
        return Story(self.hero, self.friend, self.place, self.a_thing, self.good, plot.__name__, sentences)


def make_story(rng):
    """A new story from `rng` (a random.Random)."""
    return Teller(rng).story()


if __name__ == "__main__":
    for seed in range(5):
        print(make_story(random.Random(seed)).text, end="\n\n")
