# ruff: noqa: E501
"""A made-up source of hundreds of spans with facts and true captions in natural English, for tests of what checks them.

Every event has a topic of its own; what is done in a clip is told by its caption in other words than by its speech.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

TOPICS = {
    "bakery": (
        "a small bakery",
        "kneads|rolls out|slices|dusts with flour|brushes with milk|weighs|shapes|bakes".split("|"),
        "a rye loaf|a tray of croissants|cinnamon buns|pizza dough|a plum tart|baguettes|oat biscuits|a braided bread".split("|"),
        "beside the brick oven|on the marble worktop|near the flour sacks|behind the glass counter|at the mixer".split("|"),
        "FRESH BREAD|OPEN AT SIX|ORGANIC FLOUR|TODAY ONLY".split("|"),
    ),
    "harbour": (
        "a fishing harbour",
        "hauls in|unties|mends|loads|hoses down|paints|inspects|hangs up".split("|"),
        "a green net|a wooden dinghy|crates of mackerel|the mooring rope|an old anchor|lobster pots|a rusty winch|the white hull".split("|"),
        "at the end of the pier|below the lighthouse|on the slipway|next to the ice house|along the quay".split("|"),
        "HARBOUR MASTER|NO SWIMMING|SEA STAR|PIER 4".split("|"),
    ),
    "workshop": (
        "a carpenter's workshop",
        "saws|planes|sands|drills|glues|varnishes|clamps|measures".split("|"),
        "an oak plank|a chair leg|a birch drawer|the table top|a walnut frame|dovetail joints|a cabinet door|pine boards".split("|"),
        "on the workbench|under the dusty lamp|by the lathe|against the tool rack|near the sawhorse".split("|"),
        "MIND YOUR FINGERS|WOOD AND SONS|TOOLS ONLY|KEEP CLEAR".split("|"),
    ),
    "garden": (
        "a walled garden",
        "prunes|waters|digs up|plants|ties up|harvests|fertilises|rakes".split("|"),
        "rose bushes|a row of carrots|tomato seedlings|the apple tree|lavender beds|a pumpkin patch|climbing beans|autumn leaves".split("|"),
        "beside the greenhouse|along the gravel path|by the compost heap|below the stone wall|near the pond".split("|"),
        "HERBS|ADMISSION FREE|WILD BEES|DO NOT PICK".split("|"),
    ),
    "laboratory": (
        "a chemistry laboratory",
        "pipettes|heats|stirs|labels|filters|cools|weighs out|photographs".split("|"),
        "a blue solution|the glass flask|copper crystals|a test tube|the acid sample|agar plates|a silver powder|the reagent bottle".split("|"),
        "under the fume hood|at the microscope|beside the centrifuge|next to the burner|over the sink".split("|"),
        "DANGER ACID|ROOM 214|WEAR GOGGLES|BIOHAZARD".split("|"),
    ),
    "stable": (
        "a riding stable",
        "grooms|saddles|feeds|leads out|shoes|bridles|washes|examines".split("|"),
        "a chestnut mare|the grey pony|a nervous foal|two donkeys|the black stallion|an old carthorse|a spotted gelding|the lame horse".split("|"),
        "in the stable yard|beside the hay barn|at the paddock gate|next to the trough|inside the loose box".split("|"),
        "RIDING SCHOOL|TACK ROOM|BEWARE OF HORSES|HAY DELIVERY".split("|"),
    ),
    "garage": (
        "a car repair garage",
        "jacks up|welds|polishes|dismantles|oils|tests|bolts on|rewires".split("|"),
        "a yellow taxi|the gearbox|a flat tyre|the exhaust pipe|brake discs|a cracked windscreen|the fuel pump|a delivery van".split("|"),
        "over the inspection pit|beside the compressor|at the tyre rack|under the hydraulic lift|by the roller door".split("|"),
        "OIL CHANGE|MOT TESTING|CASH ONLY|SPARE PARTS".split("|"),
    ),
    "pottery": (
        "a pottery studio",
        "throws|glazes|fires|trims|wedges|decorates|unpacks|smashes".split("|"),
        "a clay bowl|a tall vase|porcelain cups|a terracotta jug|stoneware plates|a teapot lid|ceramic tiles|a broken urn".split("|"),
        "at the potter's wheel|in front of the kiln|on the drying shelf|over the slip bucket|beside the plaster moulds".split("|"),
        "KILN HOT|CLASS AT NOON|GLAZE TEST|SECONDS SALE".split("|"),
    ),
    "alpine": (
        "a snowy mountain ridge",
        "climbs|crosses|photographs|maps|descends|clears|marks|skis down".split("|"),
        "an icy couloir|the crevasse|the summit cross|a snow cornice|the glacier tongue|a frozen waterfall|the rocky spur|the avalanche slope".split("|"),
        "above the tree line|below the mountain hut|near the cable car|beside the fixed ropes|on the north face".split("|"),
        "SUMMIT 2962|AVALANCHE RISK|HUT CLOSED|TRAIL 7".split("|"),
    ),
    "concert": (
        "a small concert hall",
        "tunes|plays|conducts|rehearses|records|amplifies|carries|restrings".split("|"),
        "a double bass|the grand piano|a string quartet|snare drums|an alto saxophone|the church organ|a steel guitar|a brass fanfare".split("|"),
        "under the spotlights|behind the velvet curtain|at the mixing desk|beside the conductor's podium|in the front row".split("|"),
        "STAGE DOOR|SOLD OUT|QUIET PLEASE|ROW F".split("|"),
    ),
    "hospital": (
        "a veterinary clinic",
        "bandages|vaccinates|x-rays|strokes|shaves|scans|stitches|calms".split("|"),
        "a limping terrier|a tabby kitten|the injured owl|a tortoise|a rabbit's ear|the parrot's wing|a sleepy hamster|the sheepdog's paw".split("|"),
        "on the steel table|beside the scales|in the waiting room|near the medicine cabinet|behind the reception desk".split("|"),
        "VACCINES|SURGERY 2|PLEASE RING|PET INSURANCE".split("|"),
    ),
    "market": (
        "a crowded street market",
        "sells|haggles over|wraps|stacks|tastes|carries away|counts|displays".split("|"),
        "ripe mangoes|silk scarves|a copper kettle|roasted chestnuts|goat cheese|second-hand books|brass lamps|spicy olives".split("|"),
        "under a striped awning|at the corner stall|next to the fountain|between two barrows|in front of the arcade".split("|"),
        "THREE FOR TWO|FISH DAILY|ANTIQUES|NO REFUNDS".split("|"),
    ),
}  # fmt: skip
CAST = "Anna Boris Clara Dmitri Elena Felix Greta Hugo Irina Jonas Katya Leon".split()
STRANGERS = "Wanda Trevor Priya Malcolm Yvonne Otto Brenda Rashid Zelda Quentin".split()
CAMERA = {
    "static": ("The camera stands still.", "A static shot.", ""),
    "pan left": ("The camera pans to the left.", "The camera slowly pans left.", ""),
    "pan right": ("The camera pans to the right.", "The view pans right along the room.", ""),
    "tilt up": ("The camera tilts up.", ""),
    "zoom in": ("The camera zooms in slowly.", ""),
    "tracking": ("The camera follows closely.", "The camera keeps the action in the middle of the frame.", ""),
}
HUES = "red orange yellow green cyan blue purple".split()
SPEECH = (
    "Now {object} need a careful hand.",
    "Look, this is how one {verb} {object}.",
    "I have worked on {object} since I was a child.",
    "Has anybody seen to {object} yet?",
    "You can see it well {where}.",
)
VAGUE = ("Wait a moment, please.", "Yes, exactly like that.", "We should be done by tonight.", "All right, go on.")


@dataclass
class Deed:
    """What is done in a clip."""

    who: str
    verb: str
    thing: str
    where: str
    setting: str


@dataclass
class Scenario:
    """Rows of `tree` (facts as JSON) and of `captions`, and by node the deed and the sentences of its caption."""

    tree: list[dict] = field(default_factory=list)
    captions: list[dict] = field(default_factory=list)
    event: dict[str, int] = field(default_factory=dict)


def scenario(seed: int, source: str = "made", events: int = 12, shots: int = 7, clips: int = 5) -> Scenario:
    """About events * shots * (clips + 1) nodes; 12, 7 and 5 make 517."""
    rng = random.Random(seed)
    made, at = Scenario(), 0.0
    story = _node(source, None, "story", 0.0, 0.0, {})
    made.tree.append(story)
    told_events = []
    for number, topic in enumerate(rng.sample(sorted(TOPICS), min(events, len(TOPICS)))):
        setting, verbs, things, places, signs = TOPICS[topic]
        cast = rng.sample(CAST, 2)
        event = _node(source, story, "event", at, at, {})
        made.tree.append(event)
        deeds, begin, told_shots = [], at, []
        combos = rng.sample([(v, t) for v in verbs for t in things], min(64, shots * clips))
        for _ in range(shots):
            shot = _node(source, event, "shot", at, at, {})
            made.tree.append(shot)
            look = _look(rng)
            mine, first, texts, lines = [], at, [], []
            for _ in range(clips):
                lasts = round(rng.uniform(4, 9), 1)
                verb, thing = combos[len(deeds) % len(combos)]
                deed = Deed(rng.choice(cast), verb, thing, rng.choice(places), setting)
                facts = _facts(rng, deed, at, lasts, look, signs)
                clip = _node(source, shot, "clip", at, at + lasts, facts)
                made.tree.append(clip)
                made.captions.append(_caption(clip, _clip_text(rng, deed, facts)))
                texts += facts.get("text", [])
                lines += facts.get("speech", [])
                mine.append((deed, at - first))
                deeds.append(deed)
                at = round(at + lasts, 3)
            facts = _whole(first, at, look, texts, lines, [d.who for d, _ in mine], 1)
            _close(shot, at, facts)
            made.captions.append(_caption(shot, _shot_text(rng, mine, at - first)))
            told_shots.append((mine[0][0], first - begin))
        facts = _whole(begin, at, {"sound": True}, [], [], cast, shots)
        _close(event, at, facts)
        made.captions.append(_caption(event, _event_text(rng, setting, told_shots, deeds)))
        told_events.append((setting, begin, cast))
        made.event |= {row["node_id"]: number for row in made.captions if row["node_id"] not in made.event}
    _close(story, at, _whole(0.0, at, {"sound": True}, [], [], CAST, shots * events))
    parts = [f"From {_clock(s)} on, {' and '.join(who)} are at work in {place}." for place, s, who in told_events]
    made.captions.append(_caption(story, " ".join(["The film visits people at their work.", *parts])))
    for row, node in ((row, {n["node_id"]: n for n in made.tree}[row["node_id"]]) for row in made.captions):
        row["parent_id"] = node["parent_id"]
    return made


def _look(rng: random.Random) -> dict:
    facts: dict = {"sound": True, "movement": rng.choice(["little", "some", "much"])}
    if rng.random() < 0.5:
        facts["light"] = rng.choice(["dark", "bright"])
    if rng.random() < 0.6:
        facts["hue"] = rng.choice(HUES)
    return facts


def _facts(rng: random.Random, deed: Deed, at: float, lasts: float, look: dict, signs: list[str]) -> dict:
    kind = rng.choice(list(CAMERA))
    facts = look | {"start_s": at, "seconds": lasts, "characters": [_seen(deed.who)]}
    facts["camera"] = [{"kind": kind, "start_s": at, "end_s": round(at + lasts, 3)}]
    if rng.random() < 0.25:
        facts["text"] = [{"text": rng.choice(signs), "first_s": at + 1, "last_s": at + 2}]
    if rng.random() < 0.75:
        line = rng.choice(SPEECH if rng.random() < 0.75 else VAGUE)
        said = line.format(object=deed.thing.removeprefix("a ").removeprefix("the "), verb=deed.verb, where=deed.where)
        facts["speech"] = [{"start_s": at + 1, "end_s": at + 3, "speaker": None, "text": said}]
    return facts


def _seen(name: str) -> dict:
    return {"name": name, "seen": True, "speaks": False}


def _whole(start: float, end: float, look: dict, texts: list, lines: list, cast: list[str], shots: int) -> dict:
    facts = look | {"start_s": start, "seconds": round(end - start, 1), "shots": shots}
    facts["characters"] = [_seen(name) for name in dict.fromkeys(cast)]
    facts |= {"text": texts} if texts else {}
    return facts | ({"speech": lines} if lines else {})


def _clip_text(rng: random.Random, deed: Deed, facts: dict) -> str:
    d = deed
    first = rng.choice(
        [
            f"{d.who} {d.verb} {d.thing} {d.where}.",
            f"In {d.setting}, {d.who} {d.verb} {d.thing}.",
            f"{d.who}, sleeves rolled up, {d.verb} {d.thing} {d.where}.",
            f"We see {d.who}, who {d.verb} {d.thing} while a colleague looks on.",
        ]
    )
    thing = d.thing.removeprefix("a ").removeprefix("an ").removeprefix("the ")
    second = rng.choice(
        [
            f"The light falls on {d.thing} from one side.",
            f"{d.where[0].upper()}{d.where[1:]}, other people go about their work.",
            f"Close by, {thing} can be made out clearly.",
            f"From {facts['seconds'] * 0.4:.1f} s on, {d.who} pauses and looks at {d.thing} again.",
            f"Between 1.0 and {facts['seconds'] * 0.7:.1f} s the hands work without a break.",
        ]
    )
    parts = [first, second, rng.choice(CAMERA[facts["camera"][0]["kind"]])]
    if "text" in facts and rng.random() < 0.7:
        parts.append(f'A sign reads "{facts["text"][0]["text"]}".')
    if "speech" in facts and rng.random() < 0.3:
        parts.append(f'Someone says: "{facts["speech"][0]["text"]}"')
    if facts.get("light") and rng.random() < 0.3:
        parts.append({"dark": "The room is dark.", "bright": "It is a bright scene."}[facts["light"]])
    return " ".join(part for part in parts if part)


def _shot_text(rng: random.Random, deeds: list, lasts: float) -> str:
    (one, _), (two, at), (three, later) = deeds[0], deeds[len(deeds) // 2], deeds[-1]
    return rng.choice(
        [
            f"{one.who} {one.verb} {one.thing} {one.where}. Then {two.who} {two.verb} {two.thing}. "
            f"Towards the end {three.who} {three.verb} {three.thing} {three.where}.",
            f"At first {one.who} {one.verb} {one.thing}. From {at:.1f} s on, {two.who} {two.verb} {two.thing} {two.where}. "
            f"At {later:.1f} s the attention turns to {three.thing}.",
            f"In {one.setting}, {one.who} is busy with {one.thing} {one.where}. A little later {two.who} {two.verb} "
            f"{two.thing}, and finally {three.who} {three.verb} {three.thing}.",
        ]
    )


def _event_text(rng: random.Random, setting: str, shots: list, deeds: list[Deed]) -> str:
    parts = [f"This part is set in {setting}."]
    for deed, start in shots[:5]:
        parts.append(f"From {_clock(start)} on, {deed.who} {deed.verb} {deed.thing} {deed.where}.")
    other = rng.choice(deeds)
    return " ".join([*parts, f"People also see to {other.thing}."])


def _node(source: str, parent: dict | None, level: str, start: float, end: float, facts: dict) -> dict:
    return {
        "source_id": source,
        "node_id": f"{source}-{level}-{start * 1000:.0f}-{end * 1000:.0f}" if level == "clip" else f"{source}-{level}-{start:.3f}",
        "parent_id": parent["node_id"] if parent else None,
        "level": level,
        "start_s": start,
        "end_s": round(end, 3),
        "kept": True,
        "split": "start",
        "facts": json.dumps(facts),
    }  # fmt: skip


def _close(node: dict, end: float, facts: dict) -> None:
    node["end_s"], node["facts"] = end, json.dumps(facts)


def _caption(node: dict, text: str) -> dict:
    return {
        "source_id": node["source_id"],
        "node_id": node["node_id"],
        "level": node["level"],
        "start_s": node["start_s"],
        "end_s": node["end_s"],
        "text": text,
        "facts": node["facts"],
        "model": "served:tiny",
        "attempts": 1,
        "flags": [],
    }


def _clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{seconds % 60:04.1f}"
