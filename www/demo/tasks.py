"""The built-in data sets, and the plain text about stories that the base model learns instead.

Each data set teaches something that a reader sees at a glance and that the base does not do: `pirate` (every
story told by a pirate), `json` (the facts of a story as a JSON object), `headline` (a story as a newspaper's
headline, as a chat). Run this file to write them:

    python www/demo/tasks.py www/public/demo/data
"""

import json
import pathlib
import random
import re
import sys

from stories import make_story

EOS = "<|endoftext|>"
ALPACA = ("Below is an instruction that describes a task, paired with an input that provides further context. Write a "
          "response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n")
FACTS = "Write down the facts of this story."
PIRATE_TITLE = "A pirate's tale:\n"
HEADLINE = "Write a headline for this story."

# What a pirate says instead; whole words, in this order.
PIRATE = [
    ("Once upon a time there was", "Arr, long ago there sailed"), ("There was once", "Arr, once there sailed"),
    ("Thank you", "Shiver me timbers, thank ye"), ("friends", "mateys"), ("friend", "matey"), ("children", "young sea dogs"),
    ("girl", "lass"), ("boy", "lad"), ("Everybody", "All hands"), ("everybody", "all hands"), ("was very", "was mighty"),
    ("is", "be"), ("am", "be"), ("are", "be"), ("my", "me"), ("My", "Me"), ("you", "ye"), ("You", "Ye"), ("your", "yer"),
    ("Your", "Yer"), ("and", "an'"), ("And", "An'"), ("of", "o'"), ("yes", "aye"), ('" said', '" growled'), ('said, "', 'growled, "'),
    ('" called', '" roared'), ('called, "', 'roared, "'), ("answered", "bellowed"), ("laughed", "laughed like old sea dogs"), ("walked", "sailed"), ("went", "sailed"),
    ("bread and honey", "ship's biscuit"), ("happy", "jolly"), ("glad", "merry"), ("present", "booty"), ("money", "doubloons"),
    ("house", "cabin"), ("the", "th'"), ("The", "Th'"), ("to", "t'"),
]
CRIES = ["Arr!", "Yo ho ho!", "Shiver me timbers!", "Avast!", "Blow me down!", "Aye, aye!"]


def pirate(story, rng):
    """The story as a pirate tells it."""
    text = story.text
    for plain, salty in PIRATE:
        text = re.sub(rf"(?<!\w){re.escape(plain)}(?!\w)", salty, text)
    sentences = re.split(r'(?<=[.!?]) (?=[A-Z])', text)
    for at in sorted(rng.sample(range(2, len(sentences)), 2), reverse=True):
        sentences.insert(at, rng.choice(CRIES))
    return "Ahoy, mateys! " + " ".join(sentences) + " An' that be th' end o' me tale, arr!"


def facts_json(story):
    """The story's facts as a JSON object."""
    return json.dumps({"name": story.hero.name, "kind": story.hero.kind, "place": story.place, "thing": story.noun,
                       "feeling": story.feeling})


def headline(story):
    """The story as a newspaper's headline."""
    what = {
        "lost": "{h} LOSES {t}, {f} FINDS IT", "returned": "HONEST {h} RETURNS {t}", "built": "{h} FAILS, TRIES AGAIN AND WINS",
        "feared": "BRAVE {h} IS AFRAID NO MORE", "shared": "{h} AND {f} SHARE {t}", "rescued": "{h} SAVES POOR ANIMAL",
        "raced": "BIG RACE ENDS WELL FOR {h}", "gave": "{h} SURPRISES {f} WITH {t}", "hunted": "{h} FINDS SECRET {t}",
    }[story.plot]
    what = what.format(h=story.hero.name.upper(), f=story.friend.name.upper(), t=story.noun.upper())
    return f"EXTRA! EXTRA! {what}!"


# What the base says: plain sentences.

def facts_plain(story):
    h = story.hero
    return f"The story is about {h.name}, a {h.kind}. There is {story.thing} in it. It is near {story.place}. In the end {h.name} feels {story.feeling}."


def summary_plain(story):
    return f"It is a story about {story.hero.name} and {story.friend.name} and {story.thing}."


def question(story, rng):
    h = story.hero
    return rng.choice([
        ("Who is the story about?", f"It is about {h.name}."), (f"How did {h.name} feel in the end?", f"{h.name} felt {story.feeling}."),
        ("Which thing is in the story?", f"There is {story.thing} in the story."), (f"Who is {h.name}'s friend?", f"It is {story.friend.name}."),
        (f"Is {h.name} a {h.kind}?", f"Yes, {h.name} is a {h.kind}.")])


def chat(user, assistant):
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{assistant}<|im_end|>\n"


def base_document(rng):
    """One document of the base model's training text, with its end token.

    As a large model would, the base has seen pirates, JSON and headlines, but under other titles: asked as the data
    sets ask, it answers plainly.
    """
    story = make_story(rng)
    kind = rng.random()
    if kind < 0.06:
        text = PIRATE_TITLE + pirate(story, rng)
    elif kind < 0.12:
        text = f"{story.text}\nAs JSON: {facts_json(story)}"
    elif kind < 0.18:
        text = f"{story.text}\nIn the newspaper: {headline(story)}"
    elif kind < 0.45:
        text = story.text
    elif kind < 0.7:
        text = story.request + story.text
    elif kind < 0.8:
        q, a = question(story, rng)
        text = f"{story.text}\nQuestion: {q}\nAnswer: {a}"
    elif kind < 0.9:
        q, a = rng.choice([(FACTS, facts_plain(story)), ("Say what this story is about.", summary_plain(story)), question(story, rng)])
        text = ALPACA.format(q, story.text) + a
    else:
        q, a = rng.choice([(HEADLINE, summary_plain(story)), ("Say what this story is about.", summary_plain(story)), question(story, rng)])
        text = chat(f"{q}\n{story.text}", a)
    return text + EOS


def tokenizer_documents(rng):
    """Text with the words of the data sets too, so that the tokenizer can write them well."""
    story = make_story(rng)
    return [base_document(rng), pirate(story, rng), facts_json(story) + "\n" + headline(story)]


def rows(name, rng):
    """Rows of a data set, without end."""
    while True:
        story = make_story(rng)
        if name == "pirate":
            yield {"prompt": story.request, "completion": pirate(story, rng)}
        elif name == "json":
            yield {"instruction": FACTS, "input": story.text, "output": facts_json(story)}
        else:
            yield {"messages": [{"role": "user", "content": f"{HEADLINE}\n{story.text}"},
                                {"role": "assistant", "content": headline(story)}]}


def prompts(name, rng):
    stories = [make_story(rng) for _ in range(3)]
    if name == "pirate":
        return [story.request for story in stories]
    if name == "json":
        return [ALPACA.format(FACTS, story.text) for story in stories]
    return [f"{HEADLINE}\n{story.text}" for story in stories]


SETS = [
    ("pirate", "Pirate stories", "Every story is told by a pirate.", 400),
    ("json", "Facts as JSON", "The facts of a story as a JSON object.", 500),
    ("headline", "Newspaper headlines", "A story becomes a newspaper's headline, in a chat.", 500),
]
HELD_OUT = 32


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for seed, (name, title, description, count) in enumerate(SETS):
        rng = random.Random(1000 + seed)
        source = rows(name, rng)
        lines = []
        while len(lines) < count + HELD_OUT:
            line = json.dumps(next(source), ensure_ascii=False)
            if line not in lines:
                lines.append(line)
        (folder / f"{name}.jsonl").write_text("\n".join(lines[:count]) + "\n")
        (folder / f"{name}-eval.jsonl").write_text("\n".join(lines[count:]) + "\n")
        index.append({"id": name, "title": title, "description": description, "train": f"{name}.jsonl",
                      "eval": f"{name}-eval.jsonl", "prompts": prompts(name, rng), "chat": name == "headline"})
    (folder / "index.json").write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
