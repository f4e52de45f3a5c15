# ruff: noqa: E501
"""Other words for those of the made captions (`tests/stages/scenario.py`), phrase by phrase, written by hand."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from scenario import TOPICS

OTHERS = {
    "bakery": (
        "a little pastry shop",
        "works with the fists|flattens|cuts up|sprinkles with powder|coats with a white liquid|puts on the scales|moulds|puts into the heat",
        "a dark bun of grain|a sheet of crescent pastries|sweet spiced rolls|the base for a margherita|a fruit cake|long French sticks|crunchy cookies|a plaited challah",
        "by the stone fireplace|on the smooth stone counter|close to the bags of wheat|at the back of the shop display|by the stirring machine",
    ),
    "harbour": (
        "a seaport with trawlers",
        "pulls aboard|casts off|repairs|puts aboard|sprays clean|coats with colour|checks over|suspends",
        "an emerald mesh|a small timber rowing boat|boxes of silvery seafood|the line that ties up a vessel|a rust-eaten iron hook|traps for crustaceans|a corroded hoist|the pale side of a ship",
        "where the jetty stops|under the beacon|on the boat ramp|by the frozen goods store|beside the waterfront",
    ),
    "workshop": (
        "a joinery with wood shavings",
        "cuts through|shaves smooth|rubs down|bores into|sticks together|lacquers|fixes in a vice|takes the dimensions of",
        "a hardwood board|the support of a seat|a sliding box of pale timber|the upper surface of a desk|a dark picture surround|interlocking corners|the front of a cupboard|planks of softwood",
        "on the sturdy table|beneath an unclean lantern|next to the turning machine|leaning on the hanger for hammers|close to the trestle",
    ),
    "garden": (
        "an enclosed plot of flowers",
        "cuts back|sprinkles|unearths|puts into the soil|fastens|gathers|feeds with manure|sweeps together",
        "thorny shrubs with blossoms|orange root vegetables|young salad fruit sprouts|an orchard trunk|fragrant purple flowers|a bed of giant gourds|runner legumes on poles|fallen foliage",
        "next to the glass house|on the pebble walkway|close to the rotting kitchen waste|under the rampart of rock|by the little lake",
    ),
    "laboratory": (
        "a room for scientific experiments",
        "drips|warms up|mixes|writes a tag on|strains|chills|puts on the balance|takes pictures of",
        "an azure liquid|a transparent vessel|reddish metal shards|a thin vial|the corrosive specimen|dishes for bacteria|a shiny grey dust|the chemical container",
        "beneath the extractor|by the optical magnifier|next to the spinning machine|close to the gas flame|above the basin",
    ),
    "stable": (
        "an equestrian yard",
        "brushes|puts tack on|gives oats to|walks outside|nails iron to the hooves of|puts the reins on|rinses|looks over",
        "a reddish female horse|a silver little steed|a jumpy newborn colt|a pair of asses|the dark male thoroughbred|an aged draught animal|a dappled castrated mount|the limping animal",
        "in the courtyard of the stalls|next to the store of dried grass|by the meadow entrance|close to the drinking basin|within the pen",
    ),
    "garage": (
        "a place where vehicles are mended",
        "lifts|joins with a torch|buffs|takes apart|lubricates|tries out|screws into place|lays new cables in",
        "a golden cab|the transmission|a deflated wheel|the tail tubing|slowing rotors|a front glass with a break in it|the petrol supply unit|a parcel truck",
        "above the mechanic's trench|next to the air machine|by the stand of wheels|beneath the raised platform|close to the shutter",
    ),
    "pottery": (
        "a ceramicist's atelier",
        "forms while spinning|coats with enamel|burns hard|cuts the edges of|squeezes|paints patterns on|takes out of a box|breaks to pieces",
        "an earthen dish|a high flower holder|fine white mugs|an orange-brown pitcher|heavy dinner crockery|the cover of an infusion can|decorative wall squares|a shattered funeral jar",
        "by the turning disc|before the hot furnace|on the board where wares lose moisture|above the pail of liquid clay|next to the casting forms",
    ),
    "alpine": (
        "a high crest in winter",
        "goes up|traverses|takes pictures of|charts|goes down|frees|signposts|glides over",
        "a frosty gully|the deep gap in the ice|the wooden sign on the peak|an overhanging white edge|the end of the ice river|a solid icefall|a stony arête|the steep side where masses slide",
        "higher than the last pines|under the refuge|close to the gondola|by the secured lines|on the shady wall",
    ),
    "concert": (
        "a little philharmonic venue",
        "gets in pitch|performs on|leads|practises with|captures the sound of|makes louder|transports|puts fresh wires on",
        "a large low fiddle|the big keyboard instrument|four violinists and cellists|percussion|a woodwind with a reed|the pipes of the chapel|a metal six-stringed instrument|a trumpet call",
        "in the bright beams|at the back of the red drapes|by the sound engineer's board|next to the maestro's stand|in the seats closest to the stage",
    ),
    "hospital": (
        "an animal doctor's practice",
        "dresses the wound of|gives a jab to|takes a radiograph of|pets|trims the fur of|makes an ultrasound of|sews up|soothes",
        "a small dog that hobbles|a striped baby cat|the hurt night bird|a slow reptile with a shell|a bunny's long lobe|a macaw's feathers|a drowsy rodent|the collie's foot",
        "on the metal surface|next to the weighing machine|where owners sit until called|close to the cupboard of drugs|at the back of the entrance counter",
    ),
    "market": (
        "a busy open-air bazaar",
        "offers to buyers|argues about the price of|packs in paper|piles up|takes a bite of|takes home|reckons up|lays out",
        "juicy tropical fruit|fine neck cloths|a reddish metal pot for boiling|hot nuts from the fire|a white dairy wheel|used novels|golden lanterns|hot pickled fruit from a tree",
        "beneath a lined canopy|by the booth where lanes meet|close to the water jet|amid a couple of carts|before the row of columns",
    ),
}
"""Parallel to `TOPICS`: the setting, what is done, to what, where."""
WOMEN = frozenset("Anna Clara Elena Greta Irina Katya".split())
FRAMES = {"sleeves rolled up": "with bare forearms", "while a colleague looks on": "and a workmate watches"}


def phrases() -> dict[str, str]:
    """Other words by the phrase of a caption."""
    found = dict(FRAMES)
    for topic, (setting, *lists) in OTHERS.items():
        found[TOPICS[topic][0]] = setting
        for own, other in zip(TOPICS[topic][1:4], lists, strict=True):
            found |= dict(zip(own, other.split("|"), strict=True))
    return found
