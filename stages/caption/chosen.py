"""Which captions may be used, and in what words: the one rule for shards, exports and search.

A caption is used where the table `caption_checks` passed it; where no such table is, one that has text and no flag.
Captions that were shifted against their spans stand where they belong: `text_from` says whose words a span takes.
"""

from __future__ import annotations

LAYERS = (
    *("text", "raw", "prompt", "short", "subjects", "actions", "setting", "camera", "light", "style"),
    *("text_on_screen", "sound", "model", "confidence"),
)
"""The columns that come with a caption's words; its times, level and facts are its span's own."""


def captions_chosen(checked: bool) -> str:
    """SQL of the captions that may be used, out of the tables `captions` and, where `checked`, `caption_checks`.

    A row has source_id, node_id, parent_id, clip_id, level, start_s, end_s and facts of a node, `LAYERS` of the
    caption that belongs to it, and `text_from`, the node that this was written for.
    """
    span = "n.source_id, n.node_id, n.parent_id, n.clip_id, n.level, n.start_s, n.end_s, n.facts"
    if not checked:
        layers = ", ".join(f"n.{layer}" for layer in LAYERS)
        return f"""
        select {span}, n.node_id as text_from, {layers} from captions n
        where trim(coalesce(n.text, '')) <> '' and len(n.flags) = 0
        """  # noqa: S608 - names of columns out of this module
    layers = ", ".join(f"w.{layer}" for layer in LAYERS)
    return f"""
    select {span}, w.node_id as text_from, {layers} from captions n
    join caption_checks k on k.source_id = n.source_id and k.node_id = n.node_id
    join captions w on w.source_id = n.source_id and w.node_id = coalesce(k.text_from, n.node_id)
    where k.passed and trim(coalesce(w.text, '')) <> ''
    """  # noqa: S608 - names of columns out of this module


def takes_told(checked: bool) -> str:
    """SQL of the takes of which every shot's caption may be used: a text with a hole in it describes another video.

    A row has clip_id, `shots` (the shots' rows as structs, in order) and `parts` (those of level clip that may be
    used, in order).
    """
    fields = ("node_id", "start_s", "end_s", "facts", *LAYERS)
    struct = "{" + ", ".join(f"{name}: c.{name}" for name in fields) + "}"
    return f"""
    with chosen as ({captions_chosen(checked)}), whole as (
        select n.clip_id from captions n left join chosen c using (source_id, node_id)
        where n.level = 'shot' and n.clip_id is not null
        group by n.clip_id having bool_and(c.node_id is not null)
    )
    select c.clip_id, list({struct} order by c.start_s) filter (c.level = 'shot') as shots,
        list({struct} order by c.start_s) filter (c.level = 'clip') as parts
    from chosen c semi join whole on whole.clip_id = c.clip_id
    where c.level in ('shot', 'clip') group by c.clip_id
    """  # noqa: S608 - names of columns out of this module
