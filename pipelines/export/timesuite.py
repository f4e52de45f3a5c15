"""TimeSuite's temporally grounded captions: given a coarse title, when is it, and what happens in full."""

from __future__ import annotations

from typing import Any

from pipelines.export.folder import Out
from pipelines.export.taken import Take, Taken, layer_of, line

ASK = "Find the part of the video that this title tells of, and describe it in detail with its start and end time."


def timesuite(taken: Taken, out: Out, prompts: int) -> int:
    """`grounded_captions.json`: a video a take, under `videos/`, and a question for each of its captions.

    A title that fits two parts of a take asks what cannot be answered, so that such parts have no question.
    """
    videos: list[dict[str, Any]] = []
    for take in taken.takes:
        if asked := _asked(take):
            path = out.media(f"videos/{take.clip_id}.mp4", take.media)
            videos.append({"video": path, "duration": round(take.duration_s, 3), "QA": asked})
    out.json("grounded_captions.json", videos)
    return sum(len(video["QA"]) for video in videos)


def _asked(take: Take) -> list[dict[str, str]]:
    nodes = take.timeline
    titles = [layer_of(node, "short") for node in nodes]
    return [
        {"i": ASK, "q": title, "a": f"{node['start_s']:.1f} - {node['end_s']:.1f} seconds, {line(node['text'])}"}
        for node, title in zip(nodes, titles, strict=True)
        if titles.count(title) == 1
    ]
