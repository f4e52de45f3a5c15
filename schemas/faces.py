"""`face_tracks`, `people` and `faces`: who is seen, and when.

`face_tracks` is what a camera saw, `people` who of them are one person, `faces` both together in short: the table to
join with what is heard, by source and time. Embeddings are biometric data, so they are in `face_tracks` alone.
"""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column
from schemas.text import BOX

TRACK_ID = column("track_id", pa.string(), "id of the track: clip id and number within it", False)
START_S = column(
    "start_s",
    pa.float64(),
    "seconds; its first still, or the clip's start where that lies within one step of the stills before it",
    False,
)
END_S = column("end_s", pa.float64(), "seconds; its last still and one step more, at most the clip's end", False)
TIMES = column("times_s", pa.list_(pa.float64()), "times of the stills that it was seen in, in order, seconds", False)
BOXES = column("boxes", pa.list_(BOX), "x0, y0, x1, y1 around the face at those times, shares of the picture", False)
MOUTH = column(
    "mouth", pa.list_(pa.float32()), "how far the lips are apart at those times, in mouth widths; null: not measured"
)
DETECTIONS = column("detections", pa.int32(), "stills that it was seen in", False)
SIZE = column("size_px", pa.float32(), "median side of its box on the still, px (geometric mean of both)", False)
CONFIDENCE = column("confidence", pa.float32(), "highest score that the detector gave, 0 to 1", False)
QUALITY = column(
    "quality", pa.float32(), "of its best look, 0 to 1: size, sharpness, frontality and the score, multiplied", False
)

TRACKS = Table(
    "face_tracks",
    1,
    "A face followed through a take; none crosses a cut. A track that cannot be recognised has no embedding, and "
    "says why.",
    pa.schema(
        [
            SOURCE_ID,
            TRACK_ID,
            CLIP_ID,
            START_S,
            END_S,
            TIMES,
            BOXES,
            column("scores", pa.list_(pa.float32()), "the detector's scores at those times, 0 to 1", False),
            column("qualities", pa.list_(pa.float32()), "quality of each look, 0 to 1", False),
            MOUTH,
            DETECTIONS,
            SIZE,
            CONFIDENCE,
            QUALITY,
            column("sharpness", pa.float32(), "of its best look: deviation of the Laplacian over that of luma", False),
            column("frontality", pa.float32(), "of its best look: score of dlib's frontal detectors; < 0: away", False),
            column("looks", pa.int32(), "looks that the embedding is the mean of", False),
            column(
                "embedding",
                pa.list_(pa.float32()),
                "by `model`: 128 numbers of dlib, 512 of insightface; below 0.6 apart may be one person",
            ),
            column("portrait", pa.binary(), "its best look, aligned, JPEG of 112 x 112 px", False),
            column("model", pa.string(), "who detected and who embedded", False),
            UNMEASURED,
        ]
    ),
)

MERGE = pa.struct(
    [
        ("why", pa.string()),
        ("distance", pa.float32()),
        ("track_a", pa.string()),
        ("track_b", pa.string()),
        ("between", pa.float32()),
        ("tracks_a", pa.list_(pa.string())),
        ("tracks_b", pa.list_(pa.string())),
    ]
)
"""Two groups of tracks that became one: `why` (`alike` or `one name`), the mean distance of their tracks, the nearest
two and the distance between these, and who was in either. A pair named in the stage's `apart` undoes it."""

CANDIDATE = pa.struct([("name", pa.string()), ("distance", pa.float32()), ("portrait", pa.binary())])
"""A name of the cast, how far the person is from its nearest photo, and its face there, JPEG of 112 x 112 px."""

PEOPLE = Table(
    "people",
    2,
    "A person of a source, the longest seen first. Only who is in the given cast has a name.",
    pa.schema(
        [
            SOURCE_ID,
            column("person_id", pa.string(), "id of the person within the source", False),
            column("label", pa.string(), "the name, else `unknown N`", False),
            column("name", pa.string(), "as in the cast; null: not in it, or not sure enough"),
            column("name_confidence", pa.float32(), "how sure the nearest name is, 0 to 1; null: no cast"),
            column("nearest", pa.string(), "the nearest name of the cast, whether it was given or not"),
            column("distance", pa.float32(), "mean distance of the tracks to that name's nearest photo"),
            column("margin", pa.float32(), "by how much the second nearest name is farther; null: there is none"),
            column("candidates", pa.list_(CANDIDATE), "the nearest names, at most 5; null: no cast with photos"),
            column("screen_s", pa.float64(), "seconds that the person is seen", False),
            column("start_s", pa.float64(), "seen first, seconds", False),
            column("end_s", pa.float64(), "seen last, seconds", False),
            column("clips", pa.list_(pa.string()), "ids of the takes that show the person, in order", False),
            column("tracks", pa.list_(pa.string()), "ids of the tracks, in order of time", False),
            column("merges", pa.list_(MERGE), "how these became one person, in order; undone by `people.apart`", False),
            column("portrait", pa.binary(), "of the best track, JPEG of 112 x 112 px", False),
            column("unnamed", pa.string(), "why there is no name; null where there is one"),
        ]
    ),
)

FACES = Table(
    "faces",
    1,
    "A face track and who it is. A track that cannot be recognised is of nobody, and says why.",
    pa.schema(
        [
            SOURCE_ID,
            TRACK_ID,
            CLIP_ID,
            START_S,
            END_S,
            column("person_id", pa.string(), "id of the person within the source; null: cannot be told"),
            column("label", pa.string(), "the person's name, else `unknown N`; null: cannot be told"),
            column("name", pa.string(), "as in the cast; null: not in it, or not sure enough"),
            column("name_confidence", pa.float32(), "the person's, 0 to 1; null: no cast"),
            column("distance", pa.float32(), "mean distance to the person's other tracks; null: there are none"),
            TIMES,
            BOXES,
            MOUTH,
            DETECTIONS,
            SIZE,
            CONFIDENCE,
            QUALITY,
            column("model", pa.string(), "who detected and who embedded", False),
            UNMEASURED,
        ]
    ),
)

LINK = pa.struct(
    [
        ("why", pa.string()),
        ("person_id", pa.string()),
        ("source_id", pa.string()),
        ("distance", pa.float32()),
        ("between", pa.float32()),
        ("voices", pa.float32()),
    ]
)
"""A merge in which the person was nearest: why (`alike`, `one name`, `by hand`), with whom, the mean distance of both
groups, the distance of these two, and the cosine distance of their voices, if both have one."""

IDENTITIES = Table(
    "identities",
    1,
    "Who a person of a source is over all sources. Two of one source are never one identity, but by hand.",
    pa.schema(
        [
            SOURCE_ID,
            column("person_id", pa.string(), "id of the person in `people`", False),
            column("identity_id", pa.string(), "id of the identity, after its first person by id", False),
            column("label", pa.string(), "the identity's name, else `unknown N`, who is seen longest first", False),
            column("name", pa.string(), "the identity's: as it has it in any source; null: in none"),
            column("name_confidence", pa.float32(), "that it is this person's, 0 to 1; null: no name"),
            column("named_in", pa.string(), "id of the source that the name is from; null: no name"),
            column("people", pa.int32(), "people of all sources who are this identity", False),
            column("sources", pa.int32(), "sources that show it", False),
            column("distance", pa.float32(), "mean distance to its other people; null: there are none"),
            column("merges", pa.list_(LINK), "with whom it was joined; undone by `identities.corrections`", False),
        ]
    ),
)
