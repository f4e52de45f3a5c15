"""Names of people in a caption that nobody in the cast has. Without a cast no name can be judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from stages.caption.checks.passage import Passage

GIVEN = frozenset(
    """aaron abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra ali alice alicia alison
    allison amanda amber amelia amir amy ana andrea andreas andrew andy angela anita ann anna anne annie anthony antonio
    ariel arthur ashley astrid audrey ava barbara beatrice ben benjamin bernard beth betty bill bob bobby boris brandon
    brenda brian bruce bruno caleb cameron camille carl carla carlos carmen carol caroline catherine cecilia charles
    charlie charlotte chen chloe chris christian christina christine christopher claire clara claudia clara colin connor
    craig cynthia dan daniel daniela darren david deborah denise dennis derek diana diane diego dmitri dominic donald
    donna doris dorothy doug douglas dylan eddie edgar edith edward elaine eleanor elena eli elias elijah elizabeth ella
    ellen elliot emil emily emma eric erica erik erin ernest esther ethan eva evan evelyn fatima felix fernando fiona
    florence frances francis frank franz fred frederick gabriel gareth gary george gerald gina giovanni gloria gordon
    greg gregory gustav hamid hannah hans harold harriet harry hassan heather hector heidi helen helena helga henry
    herbert hiroshi howard hugo ian ibrahim igor ines ingrid irene iris isaac isabel isabella ivan jack jackie jacob
    james jamie jan jane janet janice jason jasmine javier jean jeff jeffrey jennifer jenny jeremy jerry jesse jessica
    jill jim jimmy joan joanna joe joel johan john johnny jonas jonathan jordan jorge jose joseph joshua joyce juan
    judith julia julian julie juliet justin karen karl kate katherine kathleen kathy katie keith kelly ken kenji kenneth
    kevin kim kyle lara larry laura lauren lea leah lena leo leon leonard leila lewis liam lina linda lisa logan lorenzo
    louis louise lucas lucia lucy luis luke luna lydia madison magnus marc marcel marco marcus margaret maria marie
    marina mario marjorie martha martin mary mateo matthew maurice max maya megan mei melanie melissa mia michael
    michelle miguel mika mike mila milo miriam mohammed mona monica nadia nancy naomi natalie natasha nathan neil nick
    nicola nicolas nicole nigel nina noah noor nora norman olga oliver olivia omar oscar otto pablo pamela patricia
    patrick paul paula pauline pedro peggy peter petra philip phoebe pierre priya rachel ralph ramon raymond rebecca
    renee ricardo richard rita robert roberto robin roger roland ronald rosa rosie ross roy ruby rudolf russell ruth
    ryan sabrina sally sam samantha samir samuel sandra sara sarah scott sean sebastian sergei sharon sheila shirley
    simon sofia sonia sophia sophie stanley stefan stella stephanie stephen steve steven stuart susan suzanne sven
    sylvia tania tanya tara ted teresa terry theo theodore theresa thomas tim timothy tina toby tom tomas tony tracy
    trevor tyler ursula valerie vanessa vera veronica vicky victor victoria vincent viola violet virginia vivian
    vladimir walter wanda wendy wesley wilhelm will william xavier yan yara yasmin yusuf yuki yvonne zachary zara zoe
    malcolm rashid zelda quentin abdul akira amara anders anton ayesha bartek bettina björn carter chiara dara dimitri
    enrique esteban farid francesca freya gabriela giulia hana harper hasan hugh imran ivy jakob jana josef kai karim
    katarina kaya khalid kofi lars layla leandro liang liv lorena lukas mads maja malik marek mariam matteo mei mina
    mirko mustafa nadine naveen nikolai nils omari paolo pavel pia rafael raj rania rashida ravi rosalind rupert salma
    sanjay santiago selma shirin silvia soren svetlana tariq tobias ulrich uma vikram wei winston xiao yelena yosef
    zainab zeynep
    """.split()
)
"""Common given names of many countries. Other names are known by what they do in the sentence."""
NOT_NAMES = GIVEN & frozenset(
    "amber art bill chase dawn faith frank grace grant hope iris jack jade joy jean jordan june king luna mark may "
    "olive page pat rose ruby virginia victoria violet viola will wade".split()
)
"""Given names that are common words or places too: they need more than a capital letter."""
_OTHERS = frozenset(
    """i january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday english french german spanish italian chinese japanese american british european
    asian african indian russian greek roman gothic victorian christmas easter halloween god bible internet tv led us
    uk usa eu north south east west everyone everybody someone somebody nobody anyone she he it they we you this that
    these those there each another one both neither either what who text""".split()
)
_ACTS = (
    r"(?:says?|asks?|answers?|replies|smiles?|nods?|laughs?|frowns?|grins?|speaks?|shouts?|whispers?|walks?|sits?|"
    r"kneels?|waves?|listens?|watches|looks?|stares?|hugs?|kisses|points?|picks?|grabs?|wears?|hands?|opens?|closes|"
    r"reads?|writes?|cooks?|dances?|sings?|thanks?|greets?|explains?|tells?|talks?|shakes|puts|lifts?|carries|pours|"
    r"stands|enters|leaves|turns|leans|steps|climbs|holds|takes|stirs|paints|repairs|plays|kneads|and|then)"
)
_CAPITAL = re.compile(r"(?<![\w’'-])([A-Z][a-z\u00c0-\u024f]{2,}|[A-Z][a-z])(?![\w-])(['’]s)?")
_ACTING = re.compile(rf"\s+(?:(?:slowly|quickly|then|now|also|still|gently|carefully|briefly)\s+)?{_ACTS}\b")
_VERB = re.compile(r"\s+[a-z-]+[^s\W]s\b")
_CALLED = re.compile(
    r"\b(?:named|called|mr\.?|mrs\.?|ms\.?|miss|dr\.?|uncle|aunt|captain|sergeant|detective|"
    r"(?:man|woman|boy|girl|friend|brother|sister|son|daughter|wife|husband|colleague|neighbour|neighbor),)\s+$"
)
_STARTS = re.compile(r"(?:^|[.!?:;…\n\"“”(\[]\s*|[-–—*•]\s+)$")
_PERSON_ONLY = re.compile(
    r"\s+(?:says|asks|answers|replies|smiles|nods|laughs|frowns|grins|speaks|shouts|whispers|kneels|listens|picks|"
    r"grabs|wears|waves)\b"
)


def names(passage: Passage, cast: Iterable[str], told: Iterable[str] = ()) -> Iterator[str]:
    """Args:
    cast: who there is; empty: not known.
    told: lines that are spoken or read: names in them may be in the caption.
    """
    known = {part for name in cast for part in _parts(name) if part}
    if not known:
        return
    heard: set[str] | None = None
    for match in _CAPITAL.finditer(passage.plain):
        name = match[1].casefold()
        if name in known or name in _OTHERS or not _is_a_name(passage.plain, match):
            continue
        if heard is None:
            heard = {word for line in told for word in _parts(line)}
        if name not in heard:
            yield f"name: {match[1]} is not in the cast"
            return


@lru_cache(maxsize=4096)
def _parts(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.casefold())


def _is_a_name(text: str, match: re.Match[str]) -> bool:
    name, before = match[1].casefold(), text[max(0, match.start() - 24) : match.start()]
    starts = bool(_STARTS.search(before))
    part_of_more = bool(re.search(r"[A-Z]\w+ $", before) and not starts) or bool(
        re.match(r" [A-Z]", text[match.end() :])
    )
    acts = bool(_ACTING.match(text, match.end())) and not re.search(
        r"\b(?:the|a|an|this|that) $", before, re.IGNORECASE
    )
    if name in GIVEN and name not in NOT_NAMES:
        return not part_of_more or acts or bool(match[2]) or starts
    if _CALLED.search(before.lower()):
        return True
    if starts:
        return (name in NOT_NAMES and acts) or bool(_PERSON_ONLY.match(text, match.end()) and _unlike_a_noun(name))
    acts = acts or bool(
        _VERB.match(text, match.end()) and before.rstrip().endswith((",", " and", " then", " who", " while"))
    )
    return acts and not part_of_more and not before.rstrip().endswith((" of", " in", " the", " a", " an"))


def _unlike_a_noun(name: str) -> bool:
    """Whether a word at the start of a sentence is no plural or gerund: "Visitors", "Running"."""
    return not name.endswith(("s", "ing", "ly", "one", "body", "men", "women", "people", "children"))
