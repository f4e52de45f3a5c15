# ruff: noqa: E501
"""Forty captions of one source as a person would write them: four events, each with its two shots and seven clips.

None is made from a template, none is wrong. The events share people, a dog, doors, water, and the way a camera is
spoken of, so that words of one are found in another.
"""

from __future__ import annotations

import json

EVENTS = {
    "ferry": (
        "A family takes the early ferry to an island. They queue on the pier in the half light, watch the mainland grow small from the upper deck, and come ashore an hour later with their bicycles and a wet dog.",
        [
            ("The ramp is lowered and the passengers board. A steward in an orange vest waves the bicycles through first, then the cars, while a girl in a yellow raincoat holds on to her dog.",
             ["Grey morning light over a harbour. About thirty people stand behind a chain, most of them with their hoods up, and nobody says much.",
              "With a loud clank the ferry's ramp touches the concrete. Two deckhands check the bolts and step aside.",
              "A girl in a yellow raincoat pulls her spaniel past the first row of cars. The dog shakes itself and splashes a man's trousers; he laughs.",
              "Close on the steward's glove as he tears tickets in half, one after another, without looking up."]),
            ("At sea. The handheld camera wanders over the upper deck, from a couple sharing tea out of a flask to the children who lean over the rail and count jellyfish.",
             ["Wind tears at everything: scarves, hair, a map that an old woman tries to fold. She gives up in the end and sits on it.",
              "The father pours tea from a steel flask and passes the cup to his wife. Steam drifts across the lens for a moment.",
              "Three children hang over the rail. One of them points at the waves and shouts a number, and the others shout a higher one."]),
        ],
    ),
    "lesson": (
        "In a bright classroom a teacher shows a dozen pupils how to build a battery from lemons. Some of the lamps light up, one group has to start over, and the lesson ends with applause.",
        [
            ("The teacher explains the experiment at the front, drawing zinc and copper on the blackboard; the pupils copy it into their notebooks, more or less carefully.",
             ["Chalk squeaks. The teacher, a tall man with his sleeves pushed up, draws two strips in a circle and writes a plus and a minus beside them.",
              "A boy at the window copies the drawing, chewing his pencil. His neighbour has fallen asleep on her folded arms.",
              "She holds up a lemon and asks the class a question that we cannot hear clearly; at least six hands go up.",
              "The camera pans along the desks. Each has a plate with two lemons, some nails, and a coil of wire."]),
            ("Working in groups of three, the pupils stick nails into the fruit and twist the wires together. A tiny red lamp glows at the second table and everybody crowds round it.",
             ["Small fingers push a galvanised nail into the yellow skin. Juice runs down over the desk and someone fetches a paper towel.",
              "The wire slips off again. With a sigh the girl in the striped jumper strips a little more of the plastic and tries another knot.",
              "A red diode begins to glow, faintly at first. The three pupils throw up their arms, and the teacher comes over to shake their hands."]),
        ],
    ),
    "supper": (
        "Back home, the family cooks a fish supper together. Potatoes are peeled, a pan catches fire for a second, and finally five people sit down under the lamp in the kitchen.",
        [
            ("Preparations at the kitchen table: the mother guts two mackerel while the children peel potatoes into a bucket and quarrel about who has done more.",
             ["A knife slides along the belly of a mackerel. The woman works quickly and rinses the blade under the tap after every cut.",
              "Potato peel falls in long curls into a blue bucket. The younger boy measures his longest one against his arm.",
              "The dog has smelled the fish. It puts both paws on a chair and is told, firmly, to get down.",
              "Father comes in through the back door with a bunch of parsley and kicks off his boots."]),
            ("The cooking gets hectic. Butter foams, smoke rises, the father smothers a flame with a lid, and in the next room somebody lays the plates.",
             ["Butter melts in a black iron pan until it foams. He tips in the fillets, skin down, and leans back from the spitting fat.",
              "A flame leaps up along the edge of the pan. Without any fuss he puts a lid over it, waits, and opens the window.",
              "Five plates, five forks, no knives. The girl runs back to the drawer, and her grandmother lights the candle meanwhile."]),
        ],
    ),
    "match": (
        "An amateur football match in pouring rain. The home side in green equalises late, the goalkeeper is carried on the shoulders of her team, and the few spectators go home drenched.",
        [
            ("The second half begins with long passes that die in the puddles. Both teams slide about, and the referee stops play once to look for a lost boot.",
             ["Rain comes down so hard that the far goal is barely visible. The whistle blows and twenty-two players start to run.",
              "A midfielder in green lobs the ball forward; it lands in a puddle and simply stays there.",
              "The referee, soaked to the skin, holds up a single boot and looks round for its owner. A defender hops towards him on one leg.",
              "Under a row of umbrellas the spectators stamp their feet. One man has brought a cowbell and rings it with great patience."]),
            ("In the final minutes the striker is brought down, the penalty goes in off the post, and the players pile on top of each other in the mud.",
             ["A sliding tackle from behind. The striker goes down in a fountain of brown water and the whistle follows at once.",
              "She places the ball on the spot, wipes her face with her sleeve and takes three steps back. The goalkeeper spreads her arms.",
              "The shot clips the left post and rolls over the line. Green shirts everywhere, all of them running to the corner flag."]),
        ],
    ),
}  # fmt: skip


def prose(source: str = "written") -> tuple[list[dict], list[dict]]:
    """Rows of `tree` (facts as JSON) and of `captions`; a clip lasts 8 seconds."""
    nodes: list[dict] = []
    rows: list[dict] = []

    def add(level: str, number: str, parent: str | None, start_s: float, end_s: float, text: str) -> str:
        name = f"{source}-{level}-{number}"
        facts = json.dumps({"start_s": start_s, "seconds": end_s - start_s, "sound": True})
        shared = {"source_id": source, "node_id": name, "parent_id": parent, "level": level, "start_s": start_s, "end_s": end_s, "facts": facts}  # fmt: skip
        nodes.append(shared | {"kept": True, "split": "start"})
        rows.append(shared | {"text": text, "model": "served:tiny", "attempts": 1, "flags": []})
        return name

    at = 0.0
    for topic, (whole, shots) in EVENTS.items():
        clips = sum(len(told) for _, told in shots)
        event = add("event", topic, None, at, at + 8 * clips, whole)
        for n, (text, told) in enumerate(shots):
            shot = add("shot", f"{topic}{n}", event, at, at + 8 * len(told), text)
            for k, words in enumerate(told):
                add("clip", f"{topic}{n}{k}", shot, at, at + 8, words)
                at += 8
    return nodes, rows
